"""`POST /mcp`: the tools over streamable HTTP, under the keys, tenants and limits of all routes."""

from __future__ import annotations

import asyncio
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.types import Receive, Scope, Send

from m3.settings import Settings
from search.mcp.library import Library
from search.mcp.local import LocalLibrary
from search.mcp.origins import refuse_foreign
from search.metrics import SearchMetrics
from search.parts import Parts, parts_of
from serving import strict
from serving.keys.caller import MayRead

PATH = "/mcp"


class _Exchange(Response):
    """An answer that the protocol's own code writes."""

    def __init__(self, body: bytes, library: Library) -> None:
        super().__init__()
        self._body = body
        self._library = library

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # It takes a second to import, which no server's start and no other request should wait for.
        module = await asyncio.to_thread(import_module, "search.mcp.exchange")
        await module.exchange(self._body, self._library, scope, receive, send)


def routes(settings: Settings, metrics: SearchMetrics) -> APIRouter:
    """The endpoint, where the package `mcp` is installed.

    GET and DELETE, which sessions have and this has not, are answered 405. The protocol describes
    itself, so OpenAPI does not.
    """
    router = strict.router()
    if find_spec("mcp") is None:
        return router

    @router.post(PATH, include_in_schema=False, response_class=Response)
    async def mcp(
        request: Request,
        body: dict[str, Any],  # noqa: ARG001 - read here, so that it is held to what all bodies are
        caller: MayRead,
        parts: Annotated[Parts, Depends(parts_of)],
    ) -> Response:
        refuse_foreign(request, settings.allowed_origins or ())
        library = LocalLibrary(parts.service, caller, metrics.observe)
        return _Exchange(await request.body(), library)

    del mcp
    return router
