"""Refusals in front of FastAPI: under overload most requests are refused, and a route costs more.

What waits is looked at before a route is: where it is something, a request is read and held against
the same checks as there. What those refuse is answered at once; all else goes on to the routes,
bodies that are not as they should be too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedder.api.node import Node
from embedder.api.service import EmbeddingService
from m3.errors import M3Error
from m3.types import Kind
from serving.problems import of_exception, respond
from serving.strict import LARGE, loads

Body = TypeVar("Body", bound=BaseModel)
RawHeaders: TypeAlias = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Entry(Generic[Body]):
    """A path by which texts come into the queue; the route of those that are refused here.

    Attributes:
        body: what is sent there.
        admit: raises the `M3Error` of a request that is refused before it is tokenised.
        kind: of its texts; where they may be either, the one that is refused last.
    """

    path: str
    body: type[Body]
    admit: Callable[[Request, Body, EmbeddingService], None]
    kind: Kind


class EarlyRefusal:
    """Lets on what the queue has room for, as far as that can be said without tokenising."""

    def __init__(self, app: ASGIApp, node: Node, entries: tuple[Entry[Any], ...]) -> None:
        self._app = app
        self._node = node
        self._entries = {entry.path: entry for entry in entries}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entry = self._entry(scope)
        if entry is None or not self._node.queued_tokens:
            await self._app(scope, receive, send)
            return
        try:
            receive = await self._admitted(scope, receive, entry)
        except M3Error as error:
            scope["route"] = entry
            problem = of_exception(Request(scope), error)
            if _waits_to_send(scope):
                # Its body, which was not asked for, may come all the same or not.
                problem = replace(problem, headers={**problem.headers, "Connection": "close"})
            await respond(scope, problem)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _entry(self, scope: Scope) -> Entry[Any] | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        return self._entries.get(scope["path"])

    async def _admitted(self, scope: Scope, receive: Receive, entry: Entry[Any]) -> Receive:
        """How the route receives the request. Raises what it is refused with."""
        service = self._node.service
        headers = dict(scope["headers"])
        if not _is_json(headers):
            return receive
        if not _is_small(headers):
            service.refuse_if_full([""], entry.kind)
            return receive
        read = await _read(receive)
        if read is None:
            return receive
        try:
            body = entry.body.model_validate(loads(read))
        except ValueError:
            pass  # The route says what is wrong with it.
        else:
            entry.admit(Request(scope), body, service)
        return _once_more(read, receive)


def _is_json(headers: RawHeaders) -> bool:
    media_type = headers.get(b"content-type", b"").partition(b";")[0]
    return media_type.strip().lower() == b"application/json" and b"content-encoding" not in headers


def _is_small(headers: RawHeaders) -> bool:
    """Whether it is worth reading; a body that does not announce its size is not."""
    announced = headers.get(b"content-length", b"")
    return announced.isdigit() and int(announced) <= LARGE


def _waits_to_send(scope: Scope) -> bool:
    """Whether the caller asked first, and was not told to go on."""
    headers = dict(scope["headers"])
    return b"expect" in headers and not _is_small(headers)


async def _read(receive: Receive) -> bytes | None:
    """A body whole; None where the caller hung up."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def _once_more(body: bytes, receive: Receive) -> Receive:
    """`receive` of a request whose body was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again
