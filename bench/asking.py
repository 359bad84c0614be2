"""Searches over HTTP from one process, some at a time, and what each of them took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from bench.connections import Connections


@dataclass(frozen=True, slots=True)
class Asked:
    """A search that was answered.

    Attributes:
        began, ended: of `time.perf_counter`, as the client saw it.
        timings: milliseconds, as the answer says.
    """

    began: float
    ended: float
    timings: Mapping[str, float]

    @property
    def ms(self) -> float:
        return (self.ended - self.began) * 1e3


def ask(
    url: str,
    bodies: Iterable[Mapping[str, Any]],
    *,
    clients: int = 1,
    until: Callable[[], bool] = lambda: False,
) -> list[Asked]:
    """Send every search, `clients` at a time, or as many as there are before `until` says stop.

    Raises:
        AssertionError: one was not answered with 200.
    """
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_ask(url, iter(bodies), clients, until))


async def _ask(
    url: str, bodies: Iterator[Mapping[str, Any]], clients: int, until: Callable[[], bool]
) -> list[Asked]:
    connections, asked = Connections(url), list[Asked]()

    async def one_after_another() -> None:
        for body in bodies:
            if until():
                return
            sent = orjson.dumps(body)
            began = time.perf_counter()
            status, answer = await connections.exchange("/v1/search", sent)
            ended = time.perf_counter()
            assert status == 200, (status, answer[:500])
            asked.append(Asked(began, ended, orjson.loads(answer)["timings_ms"]))

    await asyncio.gather(*(one_after_another() for _ in range(clients)))
    return asked
