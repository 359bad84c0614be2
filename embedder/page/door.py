"""The page's way into the node: a few paths, and Gradio behind them from the first visit on.

Gradio takes seconds and a hundred megabytes to import, which a node that nobody looks at never
spends. Of its many routes only those that the page needs are reached from outside: uploads,
files, proxying and its queue are not among them, whatever a later version of it adds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import orjson
import structlog
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedder.api.node import Node
from embedder.page.desk import Desk
from embedder.page.drawn import Drawn
from embedder.page.notices import notice
from m3.errors import InvalidInput, M3Error, NotFound
from serving import garbage
from serving.application import keys_of
from serving.keys.ring import KeyRing
from serving.limits import BodyLimit

HOME = "/"
CALL = "/gradio_api/run/predict"
AGAIN = "/gradio_api/app_id"
"""What a page that found nobody asks every other second: told anything, it loads itself anew."""
FILES = ("/theme.css", "/favicon.ico", "/manifest.json")
FOLDERS = ("/assets/", "/static/")
"""With `FILES` what a browser loads: Gradio's own program, style and icons."""
MAX_CALL = 2 * 2**20
"""Bytes of a call: twice what the longest passages are, as many as the page takes."""
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "object-src 'none'; form-action 'none'; frame-ancestors 'self'"
)
_log = structlog.stdlib.get_logger("m3.page")


def is_open(path: str) -> bool:
    """Whether the page answers there: without a key, for a person types it into the page."""
    return path in {HOME, CALL, AGAIN} or is_file(path)


def is_file(path: str) -> bool:
    """Whether it is one of the hundred files that a browser loads at a visit."""
    return path in FILES or path.startswith(FOLDERS)


def install(app: FastAPI, node: Node) -> None:
    """Put the page on the app."""
    door = Door(node, keys_of(app))
    app.user_middleware.append(Middleware(CallLimit, seconds=node.settings.max_request_seconds))
    app.add_api_route(HOME, door.home, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route(AGAIN, door.again, methods=["GET"], include_in_schema=False)
    app.add_api_route(CALL, door.call, methods=["POST"], include_in_schema=False)
    for path in (*FILES, *(f"{folder}{{path:path}}" for folder in FOLDERS)):
        app.add_api_route(path, door.file, methods=["GET"], include_in_schema=False)


class Call(BaseModel):
    """A browser's call of one of the page's functions; what else it says is left out."""

    fn_index: int
    data: list[Any]


class CallLimit:
    """Holds calls, whose key is in their body, to what a body of the page's can be."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._calls = BodyLimit(app, MAX_CALL, seconds, "use the API for long texts")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_call = scope["type"] == "http" and scope["path"] == CALL
        await (self._calls if is_call else self._app)(scope, receive, send)


class Door:
    """Lets requests through to Gradio once it is there."""

    def __init__(self, node: Node, keys: KeyRing | None) -> None:
        self._node = node
        self._keys = keys
        self._began = time.monotonic()
        self._drawn: Drawn | None = None
        self._drawing: threading.Thread | None = None
        self._failed = False

    async def home(self) -> Response:
        """The page, or why it is not there; the first visit has it made."""
        if self._drawn is not None:
            return _Through(self._drawn.app, {"Content-Security-Policy": _POLICY})
        if find_spec("gradio") is None:
            return notice("This page needs Gradio: pip install 'm3-retrieval[page]', then restart.")
        if self._failed:
            return notice("The page could not be made: the node's log says why.")
        try:
            _ = self._node.service
        except M3Error as error:
            return notice(error.message, again=True)
        if self._drawing is None:
            # A daemon, so that it never holds up the process's end.
            self._drawing = threading.Thread(target=self._draw, name="m3-page", daemon=True)
            self._drawing.start()
        return notice("The page is loading.", again=True)

    async def again(self) -> dict[str, str]:
        """That somebody is there again."""
        return {"app_id": "m3-embedder"}

    async def file(self) -> Response:
        """Gradio's own files."""
        return _Through(self._there.app)

    async def call(self, call: Call) -> Response:
        """One function of the page.

        Raises:
            InvalidInput: a call that the page does not make.
        """
        drawn = self._there
        if not drawn.takes(call.fn_index, call.data):
            raise InvalidInput("this page makes no such call: reload it")
        # Without the session that the browser names: none is kept.
        return _Through(drawn.app, body=orjson.dumps(call.model_dump()))

    @property
    def _there(self) -> Drawn:
        if self._drawn is None:
            raise NotFound("the page is not loaded: visit / first")
        return self._drawn

    def _draw(self) -> None:
        try:
            from embedder.page.layout import draw  # noqa: PLC0415 - seconds

            desk = Desk(self._node, self._keys, self._began)
            self._drawn = draw(desk, self._node.service.info, with_key=self._keys is not None)
            garbage.spare()
        except Exception:  # noqa: BLE001 - the node answers on without its page
            _log.exception("the page could not be made")
            self._failed = True


class _Through(Response):
    """What another app answers to the same request."""

    def __init__(
        self, app: ASGIApp, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> None:
        """`body` in place of the request's, which has been read."""
        super().__init__()
        self._app = app
        self._added = headers or {}
        self._replaced = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._added)
            await send(message)

        # A copy: the route that is counted and logged stays the node's.
        inner = dict(scope)
        if self._replaced is None:
            await self._app(inner, receive, sent)
            return
        inner["headers"] = [
            *((name, value) for name, value in scope["headers"] if name not in _OF_A_BODY),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self._replaced)).encode()),
        ]
        await self._app(inner, _receiving(self._replaced, receive), sent)


_OF_A_BODY = frozenset({b"content-type", b"content-length", b"transfer-encoding"})


def _receiving(body: bytes, then: Receive) -> Receive:
    """`receive` of a request with this body."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return first.pop() if first else await then()

    return receive
