"""`serve` as a process: its port, its address, its end."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from tests.processes import Running, running, server, wait_until

SMALL = [sys.executable, "-m", "tests.serving.small_server"]
NO_KEY = "0" * 64


@contextmanager
def small(*arguments: str, **env: str) -> Iterator[tuple[str, Running]]:
    with server([*SMALL, *arguments], env) as found:
        yield found


def ended(*arguments: str, **env: str) -> tuple[int, str]:
    with running([*SMALL, *arguments], env) as process:
        return process.wait(), process.output()


def get(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False, timeout=60)


def test_a_taken_port_is_named_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, output = ended("127.0.0.1", str(port))
    assert status == 2
    assert f"port {port} on 127.0.0.1 is taken" in output
    assert "--port" in output
    assert "Traceback" not in output


def test_other_machines_are_not_served_without_keys():
    status, output = ended("0.0.0.0", "0")
    assert status == 2
    assert "M3_API_KEYS_FILE" in output
    assert "--insecure" in output


def test_other_machines_are_served_when_told_so():
    with small("0.0.0.0", "0", "--insecure") as (url, _):
        assert get(f"{url}/livez").status_code == 200
        assert get(f"{url}/walked", {"Host": "search.example"}).status_code == 200


def test_this_machine_is_served_under_its_own_names_alone():
    with small("127.0.0.1", "0") as (url, _):
        for path, host, status in (
            ("/walked", "localhost", 200),
            ("/walked", "embedders", 200),  # as a proxy names what it balances
            ("/walked", "node.m3.internal", 200),
            ("/walked", "rebound.example", 403),
            ("/walked", "internal.rebound.example", 403),
            ("/livez", "rebound.example", 200),
        ):
            assert get(f"{url}{path}", {"Host": host}).status_code == status


def test_other_machines_are_served_with_keys(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(NO_KEY)
    with small("0.0.0.0", "0", M3_API_KEYS_FILE=str(keys)) as (url, _):
        assert get(f"{url}/livez").status_code == 200
        assert get(f"{url}/walked").status_code == 401


def test_an_unknown_host_is_refused():
    status, output = ended("no-such-host.invalid", "0", "--insecure")
    assert status == 2
    assert "no such address" in output


def test_collecting_garbage_does_not_walk_through_all_that_was_imported():
    with small("127.0.0.1", "0") as (url, _):
        walked = get(f"{url}/walked").json()
    assert 0 < walked < 10_000


def test_sigterm_finishes_what_is_under_way_and_ends_with_0():
    with small("127.0.0.1", "0") as (url, process), ThreadPoolExecutor() as threads:
        asked = threads.submit(get, f"{url}/slow")
        wait_until(lambda: "yes" if "under way" in process.output() else None, process)
        process.signal(signal.SIGTERM)
        wait_until(lambda: "yes" if refuses_connections(url) else None, process)
        # One that waited for nobody would be gone by then.
        time.sleep(0.5)
        process.signal(signal.SIGUSR1)
        assert asked.result().json() == "done"
        assert process.wait() == 0


def refuses_connections(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port)) != 0


def test_draining_shows_on_readyz_while_requests_are_still_answered():
    with small("127.0.0.1", "0", M3_DRAIN_SECONDS="600") as (url, process):
        process.signal(signal.SIGTERM)
        wait_until(lambda: "yes" if get(f"{url}/readyz").status_code == 503 else None, process)
        assert get(f"{url}/readyz").json()["code"] == "not_ready"
        assert get(f"{url}/walked").status_code == 200
        process.signal(signal.SIGTERM)
        assert process.wait() == 0, "who asks twice does not want to wait"


def test_draining_ends_after_the_seconds_that_are_set():
    with small("127.0.0.1", "0", M3_DRAIN_SECONDS="1") as (_, process):
        began = time.monotonic()
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert time.monotonic() - began >= 1


def test_probes_are_asked_by_head_as_well():
    with small("127.0.0.1", "0") as (url, _), httpx.Client(trust_env=False, timeout=60) as client:
        for path in ("/livez", "/readyz", "/metrics"):
            # On one connection, where a body that nobody expects would be read as an answer.
            told, asked = client.get(url + path), client.head(url + path)
            assert (told.status_code, asked.status_code, asked.content) == (200, 200, b"")
            assert asked.headers.keys() == told.headers.keys()
            assert asked.headers["content-type"] == told.headers["content-type"]
            assert int(asked.headers["content-length"]) > 0
            refused = client.post(url + path)
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        refused = client.head(f"{url}/slow")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET")


def test_sigint_is_an_interrupt():
    with small("127.0.0.1", "0") as (_, process):
        process.signal(signal.SIGINT)
        # Python's own end after an uncaught KeyboardInterrupt.
        assert process.wait() in {130, -signal.SIGINT}


def test_a_failing_lifecycle_ends_the_server_with_its_error():
    with small("127.0.0.1", "0") as (url, process):
        assert httpx.post(f"{url}/fail", trust_env=False, timeout=60).status_code == 200
        assert process.wait() == 2
        assert "error: the model is gone" in process.output()


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_each_request_is_one_log_line(fmt):
    with small("127.0.0.1", "0", M3_LOG_FORMAT=fmt) as (url, process):
        get(f"{url}/walked", {"X-Request-Id": "told-by-caller"})
        process.signal(signal.SIGTERM)
        process.wait()
        lines = [line for line in process.output().splitlines() if "told-by-caller" in line]
    assert len(lines) == 1
    assert "/walked" in lines[0]
    assert "200" in lines[0]
