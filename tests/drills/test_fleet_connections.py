"""Connections that go wrong at each shipped edge: cut answers, readers that stop, silence."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from bench.load import p
from tests.deploy.fake_nodes import FakeNode, Request, fake_nodes
from tests.drills.arrivals import closed
from tests.drills.callers import calling, failures
from tests.drills.conftest import Tell
from tests.drills.nodes import sleepers
from tests.edges import Edge, haproxy, nginx

pytestmark = [pytest.mark.drill, pytest.mark.anyio, pytest.mark.timeout(300)]

EDGES = {"nginx": nginx, "haproxy": haproxy}
LARGE = 8 * 2**20
EACH, SECONDS = 20, 36.0
"""Bad callers of each kind, and a little more than the longest time-out that ends one."""
PATIENT = [
    ("client_header_timeout 10s", "client_header_timeout 600s"),
    ("client_body_timeout 10s", "client_body_timeout 600s"),
    ("send_timeout 30s", "send_timeout 600s"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "edge").mkdir()
    return tmp_path / "edge"


@pytest.fixture
def edge(request: pytest.FixtureRequest, folder: Path) -> Iterator[Edge]:
    nodes = [FakeNode(answer), FakeNode(answer)]
    with fake_nodes(*nodes) as addresses, request.param(folder, addresses) as started:
        yield started


def answer(request: Request) -> None:
    request.reply(200, b"x" * (LARGE if request.body == b"large" else 10))


@pytest.mark.parametrize("kind", EDGES)
async def test_answers_that_are_cut(kind, tmp_path, folder, tell: Tell):
    """No proxy can mend an answer that has begun: our client asks again, a raw one cannot."""
    count = itertools.count()

    def cut_some(request: Request) -> None:
        if next(count) % 4:
            request.reply(503)
        else:
            request.send_response(200)
            request.send_header("Content-Length", "1000")
            request.end_headers()
            request.wfile.write(b"half of")
            request.hang_up()

    with sleepers(2, tmp_path / "home", 20_000) as nodes, fake_nodes(FakeNode(cut_some)) as bad:
        await nodes.start()
        with EDGES[kind](folder, [*nodes.addresses, *bad]) as edge:
            async with calling(edge.url, ours=4, raw=4) as calls:
                await asyncio.sleep(20)
    tell(calls=len(calls.ours), failed=len(failures(calls.ours)), raw=len(failures(calls.raw)))
    assert not failures(calls.ours)
    assert failures(calls.raw), "nothing was cut, or something else mended it"


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES, indirect=True)
async def test_readers_that_read_nothing_and_callers_that_fall_silent(edge, tell: Tell):
    """Others are served meanwhile, and all of them are gone in the end."""
    seconds, open_still = await bad_callers(edge)
    tell(calls=len(seconds), p99_ms=1e3 * p(seconds, 99), open_still=open_still)
    assert len(seconds) > 100
    assert p(seconds, 99) < 1
    assert open_still == 0


async def test_without_time_outs_they_stay(folder, tell: Tell):
    """The drill of bad callers notices."""
    node = FakeNode(answer)
    with fake_nodes(node) as addresses, nginx(folder, addresses, changes=PATIENT) as edge:
        _, open_still = await bad_callers(edge)
    tell(open_still=open_still)
    assert open_still > EACH


async def bad_callers(edge: Edge) -> tuple[list[float], int]:
    """Seconds of the calls beside them, and how many of the bad are still connected at the end."""
    head = b"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    whole, half_body, half_head = head + b"5\r\n\r\nlarge", head + b"900\r\n\r\nha", head
    with ExitStack() as stack:
        bad = [
            stack.enter_context(closing(_said(edge, request)))
            for request in (whole, half_body, half_head)
            for _ in range(EACH)
        ]
        async with httpx.AsyncClient(base_url=edge.url, trust_env=False, timeout=10) as client:

            async def call() -> float:
                began = time.monotonic()
                (await client.post("/v1/encode", content=b"small")).raise_for_status()
                took = time.monotonic() - began
                await asyncio.sleep(0.2)
                return took

            seconds = await closed(call, at_once=4, seconds=SECONDS)
        return seconds, await asyncio.to_thread(lambda: sum(map(_is_open, bad)))


def _said(edge: Edge, request: bytes) -> socket.socket:
    """A connection on which this was sent, and nothing is read."""
    parts = urlsplit(edge.url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((parts.hostname, parts.port))
    connection.sendall(request)
    return connection


def _is_open(connection: socket.socket) -> bool:
    """Whether the edge would still send something; what it sent is read away."""
    connection.settimeout(0.3)
    try:
        left = LARGE
        while left > LARGE // 2 and (read := connection.recv(2**16)):
            left -= len(read)
    except TimeoutError:
        return True
    except ConnectionError:
        return False
    # More than any buffer holds came: it was being sent.
    return left <= LARGE // 2
