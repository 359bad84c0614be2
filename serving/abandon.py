"""Work ends when nobody waits for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

T = TypeVar("T")


class Abandoned(Exception):
    """The caller hung up."""


async def unless_abandoned(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do `work`, whose body has been read, and cancel it when the caller hangs up.

    Raises:
        Abandoned: the caller did; the app answers nothing.
    """
    working = asyncio.ensure_future(work)
    hanging_up = asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({working, hanging_up}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Abandoned
    finally:
        working.cancel()
        hanging_up.cancel()
        await asyncio.gather(working, hanging_up, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
