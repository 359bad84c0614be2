"""What a connection may send, and how long it may take, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from m3.settings import Settings
from serving import connection
from serving.application import create_app
from serving.connection import MAX_HEAD_BYTES, Connection

pytestmark = pytest.mark.anyio
HEAD = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
SECONDS = 0.2


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    for name in ("FIRST_SECONDS", "HEAD_SECONDS", "BODY_SECONDS"):
        monkeypatch.setattr(connection, name, SECONDS)


async def echo(scope, receive, send) -> None:
    """The body, once it is whole; nothing to one who hung up."""
    body, more = b"", scope["path"] != "/unread"
    if scope["path"] == "/late":
        await asyncio.sleep(1.5 * SECONDS)
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        body, more = body + message["body"], message["more_body"]
    if body == b"slow":
        await asyncio.sleep(1.5 * SECONDS)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def connected(
    app: ASGIApp = echo,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(app, http=Connection, ws="none", lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(config, state, {}), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        return await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What came before the end, which a body that comes byte by byte was put to."""
    came = asyncio.create_task(reader.read(65536))
    answer = b""
    async with asyncio.timeout(5):
        while not reader.at_eof():
            writer.write(b" ")
            await asyncio.sleep(SECONDS / 4)
            if came.done():
                answer += came.result()
                came = asyncio.create_task(reader.read(65536))
    return answer


def problem(answer: bytes) -> tuple[int, str]:
    head, body = answer.split(b"\r\n\r\n", 1)
    told = orjson.loads(body)
    assert int(head.split(b" ")[1]) == told["status"]
    assert b"connection: close" in head
    return told["status"], told["detail"]


async def test_a_head_without_end_is_refused_before_it_fills_the_memory():
    async with connected() as (reader, writer):
        sent = 0
        writer.write(HEAD + b"X: ")
        while not reader.at_eof() and sent < 100 * MAX_HEAD_BYTES:
            writer.write(b"a" * 8192)
            sent += 8192
            try:
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0)
    assert sent < 40 * MAX_HEAD_BYTES


async def test_a_head_that_is_too_large_is_told_so():
    async with connected() as (reader, writer):
        writer.write(HEAD + b"X: ")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(b"a" * (MAX_HEAD_BYTES + 1))
        status, detail = problem(await until_closed(reader))
    assert status == 431
    assert f"over {MAX_HEAD_BYTES} bytes" in detail


@pytest.mark.parametrize("sent", [b"", b"POST /echo HT", HEAD, HEAD + b"\r\nab"])
async def test_whoever_goes_silent_is_hung_up_on(sent):
    async with connected() as (reader, writer):
        writer.write(sent)
        answer = await until_closed(reader)
    if sent and b"\r\n\r\n" not in sent:
        assert problem(answer)[0] == 408
    else:
        assert not answer


@pytest.mark.parametrize("before", [b"", HEAD + b"\r\nfour"])
async def test_blank_lines_are_no_beginning(before):
    async with connected() as (reader, writer):
        writer.write(before)
        if before:
            async with asyncio.timeout(5):
                await reader.readuntil(b"four")
        writer.write(b"\r\n")
        assert not await until_closed(reader)


CHUNKED = b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "more"),
    [(b"0\r\nX: ", b"a"), (b"0\r\n", b"X: a\r\n"), (b"4;", b"a")],
    ids=["a trailer", "trailers", "a chunk's extension"],
)
async def test_what_frames_a_body_has_an_end(monkeypatch, begin, more):
    monkeypatch.setattr(connection, "BODY_SECONDS", 60)
    async with connected() as (reader, writer):
        writer.write(b"POST /unread" + CHUNKED + begin)
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.write(more * (2 * MAX_HEAD_BYTES // len(more)))
        assert problem(await until_closed(reader))[0] == 431


async def test_a_trailer_is_no_header():
    seen = []

    async def app(scope, receive, send) -> None:
        await echo(scope, receive, send)
        seen.extend(name for name, _ in scope["headers"])

    async with connected(app) as (reader, writer):
        writer.write(b"POST /echo" + CHUNKED + b"4\r\nfour\r\n0\r\nX-Tenant: b\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"four")).startswith(b"HTTP/1.1 200 ")
    assert seen == [b"host", b"transfer-encoding"]


async def test_a_head_that_drips_is_not_waited_for():
    async with connected() as (reader, writer):
        reading = asyncio.create_task(until_closed(reader))
        for byte in HEAD:
            writer.write(bytes([byte]))
            await asyncio.sleep(SECONDS / 4)
            if reading.done():
                break
        assert reading.done()
        # What still came after the answer may have reset the connection.
        (told,) = await asyncio.gather(reading, return_exceptions=True)
        assert isinstance(told, ConnectionResetError) or problem(told)[0] == 408


async def test_a_body_may_take_longer_as_long_as_it_comes():
    async with connected() as (reader, writer):
        writer.write(HEAD.replace(b"4", b"8") + b"\r\n")
        for byte in b"the body":
            await asyncio.sleep(0.2 * SECONDS)
            writer.write(bytes([byte]))
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b"body")
    assert answer.startswith(b"HTTP/1.1 200 ")


def head_of(path: str) -> bytes:
    """Of a request whose body is never whole."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: 1000\r\n\r\n"


@pytest.mark.parametrize("path", ["/read", "/shaped"])
async def test_a_body_has_a_time_however_steadily_it_comes(path):
    app = create_app(
        title="small",
        description="",
        settings=Settings(max_request_seconds=3 * SECONDS),
        error_shapes={"/shaped": lambda problem: problem.document()},
    )

    @app.post("/read")
    @app.post("/shaped")
    async def read(body: dict[str, str]) -> int:
        return len(body)

    async with connected(app) as (reader, writer):
        writer.write(head_of(path))
        answer = await drip(reader, writer)
    status, detail = problem(answer)
    assert status == 408
    assert detail.startswith(f"the body did not come within {3 * SECONDS:g} s")
    assert (b"application/problem+json" in answer) is (path == "/read")


async def test_a_body_that_drips_on_after_the_answer_is_hung_up_on():
    async with connected() as (reader, writer):
        writer.write(head_of("/unread"))
        answer = await drip(reader, writer)
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_an_answer_may_take_longer_and_more_requests_may_follow():
    async with connected() as (reader, writer):
        for _ in range(2):
            writer.write(HEAD + b"\r\nslow")
            async with asyncio.timeout(5):
                answer = await reader.readuntil(b"slow")
            assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_body_that_the_app_does_not_read_yet_is_not_too_slow():
    body = b"a" * 500_000 + b"end"
    async with connected() as (reader, writer):
        head = f"POST /late HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        async with asyncio.timeout(5):
            answer = await reader.readline()
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_what_is_no_http_is_told_so_as_every_other_error_is():
    async with connected() as (reader, writer):
        writer.write(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
        assert problem(await until_closed(reader))[0] == 400
