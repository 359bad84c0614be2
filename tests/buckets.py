"""An S3 on this machine: moto's server, at which the AWS_* variables point while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import pytest


@contextmanager
def s3_server() -> Iterator[Any]:
    """A client of it, with no bucket made yet."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _answer_one_at_a_time(server)
    host, number = server.get_host_and_port()
    address = f"http://{host}:{number}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {
                "AWS_ENDPOINT_URL": address,
                "AWS_ACCESS_KEY_ID": "id",
                "AWS_SECRET_ACCESS_KEY": "key",
                "AWS_REGION": "us-east-1",
            }.items():
                patch.setenv(name, value)
            yield boto3.client("s3", endpoint_url=address, region_name="us-east-1")
    finally:
        server.stop()


def _answer_one_at_a_time(server: Any) -> None:
    """S3 writes where a condition holds as one step; moto looks, and then writes."""
    http, lock = server._server, Lock()
    answer = http.app

    def alone(*request: Any) -> Any:
        with lock:
            return answer(*request)

    http.app = alone
