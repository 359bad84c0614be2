"""Callers of a fleet: ours, with its default retries, and raw ones beside it, with none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from bench.load import p
from embedder.client import EmbedderClient
from m3.errors import M3Error
from tests.drills.texts import passages

TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call: when it began, seconds of the event loop's clock; how it failed, empty if not."""

    at: float
    took: float
    failure: str = ""


@dataclass(slots=True)
class Calls:
    """What callers met so far."""

    ours: list[Call] = field(default_factory=list[Call])
    raw: list[Call] = field(default_factory=list[Call])


def failures(calls: Sequence[Call]) -> list[str]:
    return [call.failure for call in calls if call.failure]


def between(calls: Sequence[Call], start: float, end: float) -> list[Call]:
    """Those that began then."""
    return [call for call in calls if start <= call.at < end]


def p99(calls: Sequence[Call]) -> float:
    """Seconds, of calls that failed too."""
    return p([call.took for call in calls], 99)


@asynccontextmanager
async def calling(
    url: str, *, ours: int, raw: int, texts: int = 1, pause: float = 0.05
) -> AsyncIterator[Calls]:
    """Callers, one call after the other each, for the length of a block; all are answered."""
    calls, over, source = Calls(), asyncio.Event(), passages()
    async with (
        EmbedderClient([url], timeout=TIMEOUT) as client,
        httpx.AsyncClient(base_url=url, timeout=TIMEOUT, trust_env=False) as plain,
        asyncio.TaskGroup() as group,
    ):

        async def call_ours() -> str:
            return await _ours(client, _some(source, texts))

        async def call_raw() -> str:
            return await _raw(plain, _some(source, texts))

        for _ in range(ours):
            group.create_task(_repeat(call_ours, calls.ours, over, pause))
        for _ in range(raw):
            group.create_task(_repeat(call_raw, calls.raw, over, pause))
        try:
            yield calls
        finally:
            over.set()


async def _repeat(
    call: Callable[[], Awaitable[str]], calls: list[Call], over: asyncio.Event, pause: float
) -> None:
    while not over.is_set():
        began = time.monotonic()
        failure = await call()
        calls.append(Call(began, time.monotonic() - began, failure))
        await asyncio.sleep(pause)


async def _ours(client: EmbedderClient, texts: list[str]) -> str:
    try:
        batch = await client.encode(texts, "passage")
    except M3Error as error:
        return f"{type(error).__name__}: {error.message}"
    return "" if len(batch) == len(texts) else f"{len(batch)} of {len(texts)} texts"


async def _raw(client: httpx.AsyncClient, texts: list[str]) -> str:
    try:
        answer = await client.post("/v1/encode", json={"input": texts, "outputs": ["dense"]})
    except httpx.TransportError as error:
        return f"{type(error).__name__}: {error}"
    return "" if answer.is_success else f"status {answer.status_code}"


def _some(source: Iterator[str], count: int) -> list[str]:
    return [next(source) for _ in range(count)]
