"""Refusals in front of FastAPI: as the routes would refuse, and without them."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx
import orjson
import pytest
import uvicorn
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from embedder.api import routes
from embedder.api.app import create_node_app
from embedder.api.early import EarlyRefusal
from embedder.api.node import Node
from embedder.api.service import EmbeddingService
from embedder.batching.runner import Runner
from embedder.model.tokens import TokenizedText
from m3.settings import Settings
from m3.types import OUTPUTS, Kind, ModelInfo
from serving.strict import LARGE

pytestmark = pytest.mark.anyio
ROOM = 8192
"""Tokens that may wait: seven eighths of them in passages."""
FULL_OF_PASSAGES: dict[Kind, int] = {"passage": 7168}
FULL: dict[Kind, int] = {"passage": 7168, "query": 1024}
LONG = "word " * 1000
ID = {"X-Request-Id": "mine"}


class Nobody:
    """Computes nothing."""

    capacity = 1 << 20


@asynccontextmanager
async def filled(
    waiting: Mapping[Kind, int], *, early: bool = True, rate: float = 1000, **more: Any
) -> AsyncIterator[FastAPI]:
    """A node's app while so many tokens of each lane wait, once computed at `rate` a second."""
    app = create_node_app(Settings(**{"max_queue_tokens": ROOM, **more}))
    if not early:
        app.user_middleware = [one for one in app.user_middleware if one.cls is not EarlyRefusal]
    node: Node = app.state.node
    info = ModelInfo("m", "f" * 32, "fp32", 8, 8192)
    batcher, metrics = node._batcher, node._metrics
    node._service = EmbeddingService(info, "engine", cast("Any", None), batcher, metrics)
    gone = cast("Runner", Nobody())
    batcher.listener.attach(gone, rate)
    batcher.listener.lost(gone, "ended")
    requests = [
        asyncio.create_task(batcher.submit([TokenizedText([5] * count, False)], lane, OUTPUTS))
        for lane, count in waiting.items()
    ]
    await asyncio.sleep(0)
    assert node.queued_tokens == sum(waiting.values())
    try:
        yield app
    finally:
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


def router_replaced(app: FastAPI) -> list[str]:
    """Paths of the requests that come to FastAPI's router, which does nothing more."""
    called: list[str] = []

    async def beneath(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope["path"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    app.router.middleware_stack = beneath
    return called


PASSAGE = {"input": ["a passage"], "kind": "passage"}
REFUSED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("/v1/encode", PASSAGE, {}),
    ("/v1/encode", {"input": ["a", "b"]}, {}),
    ("/v1/encode", {"input": [LONG, LONG], "kind": "query"}, {}),
    ("/v1/encode", {**PASSAGE, "deadline_ms": 500}, {"max_queue_tokens": 100_000}),
    ("/v1/encode", {"input": ["q"], "kind": "query"}, {"max_queue_seconds": 6}),
    ("/v1/embeddings", {"input": ["a", "b"]}, {}),
    ("/v1/embeddings", {"input": [[7, 8, 9], [7]]}, {}),
    ("/v1/embeddings", {"input": LONG * 2}, {"max_queue_seconds": 6}),
    ("/v1/rerank", {"query": "q", "documents": ["a", {"text": "b"}]}, {}),
    ("/v2/rerank", {"query": "q", "documents": ["a"], "weights": "mkqa"}, {}),
]


@pytest.mark.parametrize(("path", "body", "more"), REFUSED)
async def test_a_full_queue_refuses_as_the_routes_would(path, body, more):
    early, late = [await _asked(path, body, more, early=early) for early in (True, False)]
    answer, told = early
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["x-queue-tokens"] == "7168"
    assert told.counted[("m3_http_requests_total", "POST", path, "429")] == 1
    assert told.counted[("m3_errors_total", "overloaded")] == 1
    assert [line["log_level"] for line in told.logged] == ["debug"]
    assert early == late


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What a node says of a request in its metrics and its log, times left out."""

    counted: dict[tuple[str, ...], float]
    logged: list[dict[str, Any]]


async def _asked(
    path: str, body: object, more: dict[str, Any], *, early: bool
) -> tuple[Answer, Told]:
    async with filled(FULL_OF_PASSAGES, early=early, **more) as app, client_of(app) as http:
        with capture_logs() as logs:
            answer = await http.post(path, json=body, headers=ID)
    counted = {
        (sample.name, *sample.labels.values()): sample.value
        for family in app.state.node.registry.collect()
        for sample in family.samples
        if sample.name.startswith("m3_") and sample.name.endswith("_total")
    }
    logged = [{name: log[name] for name in log if name != "ms"} for log in logs]
    headers = dict(answer.headers)
    return Answer(answer.status_code, headers, answer.json()), Told(counted, logged)


@pytest.mark.parametrize(("path", "body", "more"), REFUSED)
async def test_fastapi_hears_nothing_of_them(path, body, more):
    async with filled(FULL_OF_PASSAGES, **more) as app, client_of(app) as http:
        beneath = router_replaced(app)
        assert (await http.post(path, json=body)).status_code == 429
    assert not beneath


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/encode", {"input": ["q"], "kind": "query"}),
        ("/v1/embeddings", {"input": "q"}),
        ("/v1/encode", {"input": ["q"], "kind": "query", "deadline_ms": 60_000}),
        ("/v1/tokenize", {"input": ["p"]}),
        ("/v1/rerank/", {"query": "q", "documents": ["p"]}),
    ],
)
async def test_queries_and_other_paths_come_through_while_passages_are_refused(path, body):
    async with filled(FULL_OF_PASSAGES) as app, client_of(app) as http:
        beneath = router_replaced(app)
        assert (await http.post(path, json=body)).status_code == 204
    assert beneath == [path]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/encode", {"input": [LONG] * 4, "max_length": 64}),
        ("/v1/rerank", {"query": "q", "documents": [LONG] * 4, "max_tokens_per_doc": 64}),
    ],
)
async def test_of_a_text_no_more_is_counted_than_is_read(path, body):
    # 256 tokens, where four texts of the model's length would be thousands.
    async with filled({"passage": 6400}) as app, client_of(app) as http:
        beneath = router_replaced(app)
        assert (await http.post(path, json=body)).status_code == 204
    assert beneath == [path]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/encode", {**PASSAGE, "kind": "document"}, 400),
        ("/v1/encode", {**PASSAGE, "more": 1}, 400),
        ("/v1/encode", {"input": ["a"] * 2049}, 400),
        ("/v1/encode", ["a"], 400),
        ("/v1/embeddings", {"input": ["a", "b"], "dimensions": 7}, 400),
        ("/v1/rerank", {"query": "q", "documents": ["p"], "weights": {"dense": 0}}, 400),
        ("/v1/rerank", {"query": "q", "documents": ["p"], "weights": "heavy"}, 400),
    ],
)
async def test_a_wrong_request_is_told_so_by_a_full_node_too(path, body, status):
    early, late = [await _asked(path, body, {}, early=early) for early in (True, False)]
    assert early[0].status == status
    assert early == late


async def test_who_bears_no_key_learns_nothing_of_the_queue(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(hashlib.sha256(b"known").hexdigest())
    async with filled(FULL, api_keys_file=keys) as app, client_of(app) as http:
        for key, status in (("known", 429), ("other", 401)):
            headers = {"Authorization": f"Bearer {key}"}
            answer = await http.post("/v1/encode", json=PASSAGE, headers=headers)
            assert answer.status_code == status
        assert (await http.post("/v1/encode", json=PASSAGE)).status_code == 401


@settings(max_examples=50)
@given(
    pieces=st.lists(st.binary(max_size=40), min_size=1, max_size=4),
    media_type=st.sampled_from(["application/json", "application/json; charset=utf-8", "text/csv"]),
    announced=st.booleans(),
)
async def test_what_is_let_on_is_what_was_sent(pieces, media_type, announced):
    body = b"".join(pieces)
    received: list[bytes] = []

    async def beneath(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            received.append(message["body"])
            more = message["more_body"]
        assert (await receive())["type"] == "http.disconnect"

    arriving = [
        {"type": "http.request", "body": piece, "more_body": i < len(pieces)}
        for i, piece in enumerate(pieces, 1)
    ] + [{"type": "http.disconnect"}]

    async def receive() -> Any:
        return arriving.pop(0)

    headers = [(b"content-type", media_type.encode())]
    headers += [(b"content-length", str(len(body)).encode())] * announced
    async with filled(FULL_OF_PASSAGES) as app:
        layer = EarlyRefusal(beneath, app.state.node, (routes.ENTRY,))
        scope = {"type": "http", "method": "POST", "path": "/v1/encode", "headers": headers}
        await layer({**scope, "app": app}, receive, cast("Any", None))
    assert b"".join(received) == body


async def test_a_large_body_is_not_read_to_be_refused_and_the_connection_goes_on():
    async with filled(FULL) as app, served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_head(2 * LARGE))
        assert (await _status(reader)) == (429, "keep-alive")
        body = orjson.dumps(PASSAGE)
        writer.write(b"x" * 2 * LARGE + _head(len(body)) + body)
        assert (await _status(reader)) == (429, "keep-alive")
        writer.close()


async def test_a_caller_that_asks_before_it_sends_is_told_not_to():
    async with filled(FULL) as app, served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_head(2 * LARGE, "Expect: 100-continue\r\n"))
        assert (await _status(reader)) == (429, "close")
        assert await reader.read() == b""
        writer.close()


async def test_a_large_body_of_passages_is_read_where_queries_are_taken():
    large = {"input": ["word " * LARGE], "kind": "passage"}
    async with filled(FULL_OF_PASSAGES) as app, client_of(app) as http:
        assert (await http.post("/v1/encode", json=large)).status_code == 429
        beneath = router_replaced(app)
        assert (await http.post("/v1/encode", json=large)).status_code == 204
    assert beneath == ["/v1/encode"]


def _head(length: int, more: str = "") -> bytes:
    return (
        f"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n{more}\r\n"
    ).encode()


async def _status(reader: asyncio.StreamReader) -> tuple[int, str]:
    """An answer's status, and what becomes of the connection."""
    async with asyncio.timeout(60):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
    fields = dict(line.split(": ", 1) for line in head[1:] if line)
    await reader.readexactly(int(fields["content-length"]))
    return int(head[0].split()[1]), fields.get("connection", "keep-alive")


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[int]:
    """The port of the app behind uvicorn as a node is."""
    # Nobody is hung up on for having been slow to go on.
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=60,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
            await asyncio.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await serving
