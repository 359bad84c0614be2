"""What a connection may send, and how long it may take, over real sockets and a driven clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from m3.settings import Settings
from serving.application import create_app
from serving.connection import (
    BODY_SECONDS,
    FIRST_SECONDS,
    HEAD_SECONDS,
    MAX_HEAD_BYTES,
    Connection,
)

pytestmark = pytest.mark.anyio
HEAD = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
LONG = 1.5 * max(FIRST_SECONDS, HEAD_SECONDS, BODY_SECONDS)


@pytest.fixture(autouse=True)
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The event loop's, on which everything here waits."""
    loop = asyncio.get_running_loop()
    clock = Clock(loop.time)
    monkeypatch.setattr(loop, "time", clock)
    return clock


@dataclass
class Clock:
    """Goes as the real one does, and forward where a test says so."""

    real: Callable[[], float]
    ahead: float = 0.0

    def __call__(self) -> float:
        return self.real() + self.ahead

    async def forward(self, seconds: float) -> None:
        """Whatever is due by then has been done."""
        self.ahead += seconds
        for _ in range(20):
            await asyncio.sleep(0)


class Watched(Connection):
    """Counts what it read."""

    received = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.received += len(data)


@dataclass
class Line:
    """Both ends of a connection; what a server did not read would reset it as it hangs up."""

    ours: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: Watched
    sent: int = field(default=0)

    @property
    def hung_up(self) -> bool:
        return self.server.transport.is_closing()

    async def send(self, data: bytes) -> None:
        """The server has read it all."""
        self.write(data)
        await until(lambda: self.server.received == self.sent)

    def write(self, data: bytes) -> None:
        self.ours[1].write(data)
        self.sent += len(data)

    async def read_until(self, end: bytes) -> bytes:
        async with asyncio.timeout(LONG):
            return await self.ours[0].readuntil(end)

    async def read_all(self) -> bytes:
        """Up to the connection's end."""
        async with asyncio.timeout(LONG):
            return await self.ours[0].read()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not true():  # noqa: ASYNC110 - it is a state of uvicorn, which sets no event
            await asyncio.sleep(0.001)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """The body, once it is whole; nothing to one who hung up."""
    body, more = b"", scope["path"] != "/unread"
    if scope["path"] == "/late":
        await asyncio.sleep(LONG)
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        body, more = body + message["body"], message["more_body"]
    if body == b"slow":
        await asyncio.sleep(LONG)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected(app: ASGIApp = echo) -> AsyncIterator[Line]:
    # uvicorn's own limit, between an answer and the next byte, stays out of it.
    config = uvicorn.Config(
        app,
        http=Watched,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=10 * round(LONG),
    )
    config.load()
    state = ServerState()
    made: list[Watched] = []

    def accept() -> Watched:
        made.append(Watched(config, state, {}))
        return made[-1]

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    async with server:
        ours = await asyncio.open_connection(*server.sockets[0].getsockname())
        await until(lambda: bool(made and state.connections))
        try:
            yield Line(ours, made[0])
        finally:
            ours[1].close()


async def drip(line: Line, clock: Clock) -> bytes:
    """What came before the end, which a body that comes byte by byte was put to."""
    for _ in range(100):
        await clock.forward(BODY_SECONDS / 4)
        if line.hung_up:
            break
        await line.send(b" ")
    assert line.hung_up
    return await line.read_all()


def problem(answer: bytes) -> tuple[int, str]:
    head, body = answer.split(b"\r\n\r\n", 1)
    told = orjson.loads(body)
    assert int(head.split(b" ")[1]) == told["status"]
    assert b"connection: close" in head
    return told["status"], told["detail"]


async def test_a_head_without_end_is_refused_before_it_fills_the_memory():
    async with connected() as line:
        reader, writer = line.ours
        line.write(HEAD + b"X: ")
        while not reader.at_eof() and line.sent < 100 * MAX_HEAD_BYTES:
            line.write(b"a" * 8192)
            try:
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0)
    assert line.sent < 40 * MAX_HEAD_BYTES


async def test_a_head_that_is_too_large_is_told_so():
    async with connected() as line:
        await line.send(HEAD + b"X: ")
        await line.send(b"a" * MAX_HEAD_BYTES)
        assert not line.hung_up
        await line.send(b"a")
        status, detail = problem(await line.read_all())
    assert status == 431
    assert f"over {MAX_HEAD_BYTES} bytes" in detail


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (b"", FIRST_SECONDS),
        (b"POST /echo HT", HEAD_SECONDS),
        (HEAD, HEAD_SECONDS),
        (HEAD + b"\r\nab", BODY_SECONDS),
    ],
)
async def test_whoever_goes_silent_is_hung_up_on(clock, sent, seconds):
    async with connected() as line:
        await line.send(sent)
        await clock.forward(seconds / 2)
        assert not line.hung_up
        await clock.forward(seconds / 2)
        assert line.hung_up
        answer = await line.read_all()
    if seconds == HEAD_SECONDS:
        assert problem(answer)[0] == 408
    else:
        assert not answer


@pytest.mark.parametrize("before", [b"", HEAD + b"\r\nfour"])
async def test_blank_lines_are_no_beginning(clock, before):
    async with connected() as line:
        if before:
            await line.send(before)
            await line.read_until(b"four")
        await line.send(b"\r\n")
        await clock.forward(FIRST_SECONDS)
        assert line.hung_up
        assert not await line.read_all()


CHUNKED = b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "more"),
    [(b"0\r\nX: ", b"a"), (b"0\r\n", b"X: a\r\n"), (b"4;", b"a")],
    ids=["a trailer", "trailers", "a chunk's extension"],
)
async def test_what_frames_a_body_has_an_end(begin, more):
    async with connected() as line:
        await line.send(b"POST /unread" + CHUNKED + begin)
        assert (await line.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        while not line.hung_up and line.sent < 3 * MAX_HEAD_BYTES:
            await line.send(more * (4096 // len(more)))
        assert line.hung_up
        assert problem(await line.read_all())[0] == 431


async def test_a_trailer_is_no_header():
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)
        seen.extend(name for name, _ in scope["headers"])

    async with connected(app) as line:
        line.write(b"POST /echo" + CHUNKED + b"4\r\nfour\r\n0\r\nX-Tenant: b\r\n\r\n")
        assert (await line.read_until(b"four")).startswith(b"HTTP/1.1 200 ")
        await until(lambda: bool(seen))
    assert seen == [b"host", b"transfer-encoding"]


async def test_a_head_that_drips_is_not_waited_for(clock):
    async with connected() as line:
        for byte in HEAD:
            await line.send(bytes([byte]))
            await clock.forward(HEAD_SECONDS / 4)
            if line.hung_up:
                break
        assert line.hung_up
        assert problem(await line.read_all())[0] == 408


async def test_a_body_may_take_longer_as_long_as_it_comes(clock):
    async with connected() as line:
        await line.send(HEAD.replace(b"4", b"8") + b"\r\n")
        for byte in b"the body":
            await clock.forward(BODY_SECONDS / 2)
            await line.send(bytes([byte]))
        answer = await line.read_until(b"body")
    assert answer.startswith(b"HTTP/1.1 200 ")


def head_of(path: str) -> bytes:
    """Of a request whose body is never whole."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: 1000\r\n\r\n"


@pytest.mark.parametrize("path", ["/read", "/shaped"])
async def test_a_body_has_a_time_however_steadily_it_comes(clock, path):
    app = create_app(
        title="small",
        description="",
        settings=Settings(max_request_seconds=LONG),
        error_shapes={"/shaped": lambda problem: problem.document()},
    )

    @app.post("/read")
    @app.post("/shaped")
    async def read(body: dict[str, str]) -> int:
        return len(body)

    async with connected(app) as line:
        await line.send(head_of(path))
        answer = await drip(line, clock)
    status, detail = problem(answer)
    assert status == 408
    assert detail.startswith(f"the body did not come within {LONG:g} s")
    assert (b"application/problem+json" in answer) is (path == "/read")


async def test_a_body_that_drips_on_after_the_answer_is_hung_up_on(clock):
    async with connected() as line:
        await line.send(head_of("/unread"))
        answer = await drip(line, clock)
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_an_answer_may_take_longer_and_more_requests_may_follow(clock):
    async with connected() as line:
        for _ in range(2):
            await line.send(HEAD + b"\r\nslow")
            await clock.forward(0.9 * LONG)
            assert not line.hung_up
            await clock.forward(0.1 * LONG)
            answer = await line.read_until(b"slow")
            assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_the_app_does_not_read_yet_is_not_too_slow(clock):
    body = b"a" * 500_000 + b"end"
    async with connected() as line:
        head = f"POST /late HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        line.write(head.encode() + body)
        await until(lambda: line.server.flow.read_paused)
        for _ in range(4):
            await clock.forward(LONG / 4)
        answer = await line.read_until(b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_what_is_no_http_is_told_so_as_every_other_error_is():
    async with connected() as line:
        await line.send(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
        assert problem(await line.read_all())[0] == 400
