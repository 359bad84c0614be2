"""Calls that come as a drill says: one after the other, or whether or not earlier ones are done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Sent(Generic[Result]):
    """A call: when it began by the monotonic clock, its seconds, what it returned."""

    at: float
    took: float
    result: Result


async def closed(
    call: Callable[[], Awaitable[Result]], *, at_once: int, seconds: float
) -> list[Result]:
    """What was returned to so many callers, each calling again when it is answered."""
    results: list[Result] = []
    end = time.monotonic() + seconds

    async def caller() -> None:
        while time.monotonic() < end:
            result = await call()
            if time.monotonic() < end:
                results.append(result)

    await asyncio.gather(*(caller() for _ in range(at_once)))
    return results


async def by_rate(
    arrivals: Sequence[float], calls: Sequence[Callable[[], Awaitable[Result]]]
) -> list[Sent[Result]]:
    """Each call at its second from now; in their order."""
    start = time.monotonic()

    async def one(call: Callable[[], Awaitable[Result]]) -> Sent[Result]:
        began = time.monotonic()
        result = await call()
        return Sent(began, time.monotonic() - began, result)

    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[Sent[Result]]] = []
        for at, call in zip(arrivals, calls, strict=True):
            await asyncio.sleep(max(0.0, start + at - time.monotonic()))
            tasks.append(group.create_task(one(call)))
    return [task.result() for task in tasks]
