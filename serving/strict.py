"""JSON bodies read strictly: what a later step could not take is refused here, with a reason."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, cast

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from serving.keys.caller import admit, needed_by
from serving.unreadable import fault

MAX_DEPTH = 64
"""Nested arrays and objects a body may have; JSON is written out again to 254 levels at most."""
LARGE = 256 * 1024
"""Bytes above which a body is read beside the event loop: about a millisecond's."""


class StrictRequest(Request):
    """A request whose JSON is UTF-8 without lone surrogates, NaN or endless nesting."""

    async def json(self) -> Any:
        """The body's value.

        Raises:
            json.JSONDecodeError: with a reason that can be shown.
        """
        body = await self.body()
        try:
            return await asyncio.to_thread(loads, body) if len(body) > LARGE else loads(body)
        except orjson.JSONDecodeError as error:
            raise json.JSONDecodeError(fault(body, error), "", 0) from error


def loads(body: bytes) -> Any:
    """A body's value.

    Raises:
        json.JSONDecodeError: what is wrong with it.
    """
    value = orjson.loads(body)
    if _deeper_than(MAX_DEPTH, value):
        raise json.JSONDecodeError(f"nested deeper than {MAX_DEPTH} levels", "", 0)
    return value


def _deeper_than(limit: int, value: Any) -> bool:
    """Level by level, so that the check itself cannot run out of stack."""
    level = [value]
    for _ in range(limit + 1):
        level = [child for node in level for child in _containers(node)]
        if not level:
            return False
    return True


def _containers(node: Any) -> list[Any]:
    if isinstance(node, dict):
        children = list(cast("dict[str, Any]", node).values())
    elif isinstance(node, list):
        children = cast("list[Any]", node)
    else:
        return []
    return [child for child in children if isinstance(child, (dict, list))]


class StrictRoute(APIRoute):
    """A route that reads its body as `StrictRequest` does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        needed = needed_by(self.dependant)

        async def strict(request: Request) -> Response:
            # Whoever may not call this learns nothing of what is wrong with the body.
            if needed is not None:
                admit(request, needed)
            _refuse_encoded(request)
            return await handler(StrictRequest(request.scope, request.receive))

        return strict


def _refuse_encoded(request: Request) -> None:
    """Raises 415 for a compressed body: its size would say nothing of what it unpacks to."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in {"", "identity"}:
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Encoding {encoding}: send the body uncompressed",
            headers={"Accept-Encoding": "identity"},
        )


def router(**options: Any) -> APIRouter:
    """An `APIRouter` of strict routes."""
    return APIRouter(route_class=StrictRoute, **options)
