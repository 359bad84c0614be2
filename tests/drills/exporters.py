"""The exporters that the shipped Prometheus configuration names, run by their real programs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.edges import free_ports
from tests.processes import Running, running, wait_until


@contextmanager
def of_disks() -> Iterator[str]:
    """node_exporter's `address:port`, of file systems alone."""
    chosen = ["--collector.disable-defaults", "--collector.filesystem"]
    with _exporter("prometheus-node-exporter", *chosen) as address:
        yield address


@contextmanager
def of_certificates(folder: Path, *trusted: Path) -> Iterator[str]:
    """blackbox_exporter's `address:port`; it knows the signers of these alone."""
    signers = folder / "signers.pem"
    signers.write_text("".join(file.read_text() for file in trusted))
    probe = {"prober": "tcp", "tcp": {"tls": True, "tls_config": {"ca_file": str(signers)}}}
    config = folder / "blackbox.yml"
    config.write_text(yaml.safe_dump({"modules": {"tls_connect": probe}}))
    with _exporter("prometheus-blackbox-exporter", f"--config.file={config}") as address:
        yield address


@contextmanager
def _exporter(program: str, *arguments: str) -> Iterator[str]:
    if not shutil.which(program):
        pytest.skip(f"no {program}: apt install it")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with running([program, *arguments, f"--web.listen-address={address}"]) as process:
        until_shown(f"http://{address}/metrics", process)
        yield address


def until_shown(url: str, process: Running, *, seconds: float = 60) -> None:
    """Wait until metrics are read there."""

    def answers() -> str | None:
        try:
            return url if httpx.get(url, trust_env=False).is_success else None
        except httpx.TransportError:
            return None

    wait_until(answers, process, seconds=seconds)
