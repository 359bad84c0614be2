"""One request and its answer over streamable HTTP, without sessions: any server takes the next."""

from __future__ import annotations

from functools import cache
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Message, Receive, Scope, Send

from search.mcp.library import Library
from search.mcp.server import Context, serving


async def exchange(
    body: bytes, library: Library, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer a POST whose body has been read, as JSON."""
    scope["state"]["library"] = library
    manager = StreamableHTTPSessionManager(
        _server(), stateless=True, json_response=True, max_request_body_size=max(len(body), 1)
    )
    async with manager.run():
        await manager.handle_request(scope, _again(body, receive), send)


@cache
def _server() -> Server[Any]:
    return serving(_library_of)


def _library_of(context: Context) -> Library:
    return context.request.scope["state"]["library"]


def _again(body: bytes, receive: Receive) -> Receive:
    """What was read once already, and then what comes."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return unread.pop() if unread else await receive()

    return again
