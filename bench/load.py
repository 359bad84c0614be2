"""Load on a node from a process of its own: `python -m bench.load` reads a `Load` as JSON."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.connections import Connections
from m3.types import Kind

_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """Requests to send, each text in its own.

    Attributes:
        at_once: requests under way, the next when one is answered; or None:
        rate: requests a second, whether or not earlier ones are answered.
        deadline_ms: that each request names.
    """

    url: str
    texts: Sequence[str]
    kind: Kind
    seconds: float
    at_once: int | None = None
    rate: float | None = None
    deadline_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: which text, when (seconds from the start), how it ended, after how long.

    Attributes:
        status: of the answer; 0 where there was none.
    """

    text: int
    at: float
    status: int
    took: float


class Generator:
    """A load under way in its own process, pinned to the cores that start it."""

    def __init__(self, load: Load) -> None:
        # A file: nobody reads a pipe while the load is under way, and a full one would hold it up.
        self._outcome = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `outcome`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"],
            stdin=subprocess.PIPE,
            stdout=self._outcome,
            cwd=Path(__file__).parents[1],
        )
        assert self._process.stdin is not None
        self._process.stdin.write(orjson.dumps(asdict(load)))
        self._process.stdin.close()
        self._limit = load.seconds + 2 * _PATIENCE

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def outcome(self) -> list[Sent]:
        """Every request, once the last has ended."""
        try:
            self._process.wait(self._limit)
        finally:
            self._process.kill()
        with self._outcome:
            self._outcome.seek(0)
            return [Sent(*fields) for fields in orjson.loads(self._outcome.read())]


def p(seconds: Sequence[float], percent: int) -> float:
    """A percentile; 0 of nothing."""
    if len(seconds) < 2:
        return sum(seconds)
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


async def _send_all(load: Load) -> list[Sent]:
    sender = _Sender(load)
    await (sender.by_rate(load.rate) if load.rate else sender.at_once(load.at_once or 1))
    return sender.sent


class _Sender:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._connections = Connections(load.url)
        self._next = 0
        self._start = time.perf_counter()
        self.sent: list[Sent] = []

    async def at_once(self, count: int) -> None:
        async def one_after_another() -> None:
            while self._elapsed() < self._load.seconds:
                await self._send()

        await asyncio.gather(*(one_after_another() for _ in range(count)))

    async def by_rate(self, rate: float) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(int(rate * self._load.seconds)):
                await asyncio.sleep(max(0.0, number / rate - self._elapsed()))
                group.create_task(self._send())

    async def _send(self) -> None:
        text = self._next % len(self._load.texts)
        self._next += 1
        body: dict[str, Any] = {"input": [self._load.texts[text]], "kind": self._load.kind}
        if self._load.deadline_ms:
            body["deadline_ms"] = self._load.deadline_ms
        at = self._elapsed()
        async with asyncio.timeout(_PATIENCE):
            status = await self._connections.post("/v1/encode", orjson.dumps(body))
        self.sent.append(Sent(text, at, status, self._elapsed() - at))

    def _elapsed(self) -> float:
        return time.perf_counter() - self._start


def main() -> None:
    import uvloop

    load = Load(**orjson.loads(sys.stdin.buffer.read()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sent = runner.run(_send_all(load))
    fields = [(one.text, one.at, one.status, one.took) for one in sent]
    sys.stdout.buffer.write(orjson.dumps(fields))


if __name__ == "__main__":
    main()
