"""A node under mixed load for half an hour, by clients that hang up too: its memory stays."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import httpx
import psutil
import pytest

from bench.node import Node, total
from tests.drills.texts import passages, queries
from tests.processes import COMMANDS, server

MINUTES = float(os.environ.get("DRILL_MINUTES", "30"))
SAMPLE_SECONDS = 2.0
GROWTH = 1.02

pytestmark = [
    pytest.mark.drill,
    pytest.mark.anyio,
    pytest.mark.timeout(60 * MINUTES + 300),
]


@dataclass
class Load:
    """Clients of one node, each asking again when it is answered, until time is up."""

    url: str
    until: float
    statuses: Counter[int] = field(default_factory=Counter)
    hung_up: int = 0

    async def run(self) -> None:
        clients: list[Callable[[httpx.AsyncClient, random.Random], Awaitable[None]]] = [
            *[self._passages] * 3,
            *[self._query] * 2,
            *[self._hang_up] * 2,
            self._openai,
            self._in_a_hurry,
        ]
        async with httpx.AsyncClient(base_url=self.url, timeout=60, trust_env=False) as http:
            await asyncio.gather(
                *(self._again(ask, http, random.Random(i)) for i, ask in enumerate(clients))
            )

    async def _again(self, ask, http, rng) -> None:
        while time.monotonic() < self.until:
            await ask(http, rng)

    async def _encode(self, http, texts: list[str], **more) -> None:
        answer = await http.post("/v1/encode", json={"input": texts, **more})
        self.statuses[answer.status_code] += 1

    async def _passages(self, http, rng) -> None:
        await self._encode(http, _some(passages(rng.random()), rng.randint(1, 8)))

    async def _query(self, http, rng) -> None:
        await self._encode(http, _some(queries(rng.random()), 1), kind="query")
        await asyncio.sleep(rng.uniform(0, 0.2))

    async def _in_a_hurry(self, http, rng) -> None:
        texts = _some(passages(rng.random()), 4)
        await self._encode(http, texts, deadline_ms=rng.randint(1, 400))

    async def _openai(self, http, rng) -> None:
        texts = _some(queries(rng.random()), 4)
        answer = await http.post("/v1/embeddings", json={"input": texts})
        self.statuses[answer.status_code] += 1

    async def _hang_up(self, _, rng) -> None:
        texts = _some(passages(rng.random()), 4)
        # A client of its own: one that is cut short often enough runs out of connections.
        async with httpx.AsyncClient(base_url=self.url, timeout=60, trust_env=False) as http:
            try:
                async with asyncio.timeout(rng.uniform(0.005, 0.3)):
                    await self._encode(http, texts)
            except TimeoutError:
                self.hung_up += 1


async def test_memory_stays_under_mixed_load(stand_in):
    """PSS of the process tree at the end is at most 2 % over what it was after a sixth of it."""
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    with server(arguments) as (url, process):
        node = Node(url, psutil.Process(process.pid))
        began = time.monotonic()
        load = Load(url, until=began + 60 * MINUTES)
        samples: list[tuple[float, int]] = []
        loading = asyncio.create_task(load.run())
        while not loading.done():
            samples.append((time.monotonic() - began, await asyncio.to_thread(node.pss)))
            await asyncio.wait([loading], timeout=SAMPLE_SECONDS)
        await loading
        early, late = _around(samples, 1 / 6), _around(samples, 1)
        print(f"PSS {early / 1e6:.1f} MB, then {late / 1e6:.1f} MB; {load}")
        assert set(load.statuses) <= {200, 429, 504}
        assert load.statuses[200] > 10 * MINUTES
        assert load.hung_up > MINUTES
        assert late <= GROWTH * early
        await _nothing_waits(node)


def _some(texts: Iterator[str], count: int) -> list[str]:
    return [next(texts) for _ in range(count)]


def _around(samples: list[tuple[float, int]], share: float) -> float:
    """The median over the thirtieth of the time that follows, or at its end precedes."""
    whole = 60 * MINUTES
    span = max(whole / 30, 3 * SAMPLE_SECONDS)
    start = min(share * whole, whole - span)
    return statistics.median(pss for at, pss in samples if start <= at <= start + span)


async def _nothing_waits(node: Node) -> None:
    """What clients left behind has gone from the queue."""
    async with asyncio.timeout(30):
        while True:
            metrics = await asyncio.to_thread(node.metrics)
            if total(metrics, "m3_queue_tokens") == 0:
                return
            await asyncio.sleep(0.1)
