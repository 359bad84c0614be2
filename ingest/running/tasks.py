"""What concurrent tasks need: to fail plainly, and to hold only so much at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def together() -> AsyncGenerator[TaskGroup]:
    """A task group that raises what its first failed task raised, not a group of it."""
    try:
        async with anyio.create_task_group() as group:
            yield group
    except BaseExceptionGroup as failed:
        raise _first(failed) from None


@asynccontextmanager
async def until(stop: anyio.Event) -> AsyncGenerator[None]:
    """What is in here is cancelled once `stop` is set; whoever entered goes on behind it."""
    async with together() as tasks:

        async def watch() -> None:
            await stop.wait()
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        yield
        tasks.cancel_scope.cancel()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    if isinstance(error, BaseExceptionGroup):
        return _first(cast("BaseExceptionGroup[BaseException]", error))
    return error


class Budget:
    """So many tokens at once, or one piece that has more by itself."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._released = anyio.Condition()

    async def hold(self, tokens: int) -> None:
        """Wait until there is room for them."""
        async with self._released:
            while self._held and self._held + tokens > self._limit:
                await self._released.wait()
            self._held += tokens

    async def release(self, tokens: int) -> None:
        async with self._released:
            self._held -= tokens
            self._released.notify_all()
