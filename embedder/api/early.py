"""Refusals in front of FastAPI: under overload most requests are refused, and a route costs more.

What waits is looked at before a route is: where it is something, a request is read and held against
the same checks as there. What those refuse is answered at once; all else goes on to the routes,
bodies that are not as they should be too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedder.api.node import Node
from embedder.api.service import EmbeddingService
from m3.errors import M3Error
from m3.types import Kind
from serving.problems import of_exception, respond
from serving.strict import LARGE, StrictRequest

Body = TypeVar("Body", bound=BaseModel)


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
        request = StrictRequest(scope, receive)
        try:
            receive = await self._admitted(request, entry)
        except M3Error as error:
            scope["route"] = entry
            problem = of_exception(request, error)
            if "expect" in request.headers and not _is_small(request.headers):
                # Its body, which was not asked for, may come all the same or not.
                problem = replace(problem, headers={**problem.headers, "Connection": "close"})
            await respond(scope, problem)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _entry(self, scope: Scope) -> Entry[Any] | None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        return self._entries.get(scope["path"])

    async def _admitted(self, request: StrictRequest, entry: Entry[Any]) -> Receive:
        """How the route receives the request. Raises what it is refused with."""
        service = self._node.service
        if not _is_json(request.headers):
            return request.receive
        if not _is_small(request.headers):
            service.refuse_if_full([""], entry.kind)
            return request.receive
        try:
            body = entry.body.model_validate(await request.json())
        except ClientDisconnect:
            return request.receive
        except ValueError:
            pass  # The route says what is wrong with it.
        else:
            entry.admit(request, body, service)
        return _once_more(await request.body(), request.receive)


def _is_json(headers: Headers) -> bool:
    media_type = headers.get("content-type", "").partition(";")[0]
    return media_type.strip().lower() == "application/json" and "content-encoding" not in headers


def _is_small(headers: Headers) -> bool:
    """Whether it is worth reading; a body that does not announce its size is not."""
    announced = headers.get("content-length", "")
    return announced.isdigit() and int(announced) <= LARGE


def _once_more(body: bytes, receive: Receive) -> Receive:
    """`receive` of a request whose body was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again
