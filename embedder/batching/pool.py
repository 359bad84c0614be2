"""One worker process a device, each replaced when it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from embedder.batching.process import Order, WorkerProcess
from embedder.batching.runner import Hello, Listener
from embedder.metrics import NodeMetrics
from m3.errors import M3Error, WorkerLost

_ATTEMPTS = 3
"""Failures to load in a row, on each device, after which there is no use in another."""
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0
"""Seconds before a worker is replaced; doubled for each that lived shortly."""
_SOUND_SECONDS = 10.0
"""What a worker must have lived for the wait to begin anew."""
_log = structlog.stdlib.get_logger("m3.embedder")


class Pool:
    """Keeps workers running from `start` to `stop`."""

    def __init__(
        self,
        order: Order,
        *,
        listener: Listener,
        metrics: NodeMetrics,
        on_failure: Callable[[M3Error], None],
    ) -> None:
        """Begin with no worker.

        Args:
            listener: whom the workers tell.
            on_failure: told why there will be no worker on any device.
        """
        self._order = order
        self._listener = listener
        self._metrics = metrics
        self._on_failure = on_failure
        self._workers: set[WorkerProcess] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._failures: dict[int, int] = {}

    @property
    def pids(self) -> list[int]:
        """Of the processes there are, loading ones too."""
        return [worker.pid for worker in self._workers]

    async def start(self) -> Hello:
        """Return when the first worker is ready; those on other devices follow.

        Raises:
            M3Error: what the worker failed with: a checkpoint, a setting or a machine
                that cannot be used.
        """
        first: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self._keep_at(0, first)
        hello = await first
        for place in range(1, hello.devices):
            self._keep_at(place)
        return hello

    async def stop(self) -> None:
        """End all workers, and wait for their end."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def _keep_at(self, place: int, first: asyncio.Future[Hello] | None = None) -> None:
        self._failures[place] = 0
        self._keepers.append(asyncio.create_task(self._keep(place, first)))

    async def _keep(self, place: int, first: asyncio.Future[Hello] | None) -> None:
        """Worker after worker for one device; `first` learns of the first."""
        wait = _FIRST_WAIT
        while True:
            began = time.monotonic()
            try:
                await self._run_one(place, first)
            except M3Error as error:
                self._failures[place] += 1
                attempt = self._failures[place]
                _log.error(
                    "a worker cannot be started", error=error.message, place=place, attempt=attempt
                )
                if self._is_hopeless(error, first):
                    self._give_up(error, first)
                    return
            else:
                if time.monotonic() - began >= _SOUND_SECONDS:
                    wait = _FIRST_WAIT
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
            self._metrics.restarts.inc()

    async def _run_one(self, place: int, first: asyncio.Future[Hello] | None) -> None:
        """From a worker's start to its end. Raises why it could not be had."""
        try:
            worker = await WorkerProcess.start(self._order, place, self._listener, self._metrics)
        except OSError as error:
            raise WorkerLost(f"no worker can be started: {error}") from error
        self._workers.add(worker)
        try:
            hello = await asyncio.shield(worker.hello)
        except M3Error:
            await self._end_of(worker)
            raise
        self._failures[place] = 0
        if first is not None and not first.done():
            first.set_result(hello)
        how = await self._end_of(worker)
        _log.error("a worker is replaced", device=hello.device, pid=worker.pid, reason=how)

    async def _end_of(self, worker: WorkerProcess) -> str:
        how = await asyncio.shield(worker.ended)
        self._workers.discard(worker)
        return how

    def _is_hopeless(self, error: M3Error, first: asyncio.Future[Hello] | None) -> bool:
        """Whether there is no use in another attempt after `error`."""
        starting = first is not None and not first.done()
        # At the start there is somebody to tell, who can do something about it.
        if starting and not isinstance(error, WorkerLost):
            return True
        return all(failures >= _ATTEMPTS for failures in self._failures.values())

    def _give_up(self, error: M3Error, first: asyncio.Future[Hello] | None) -> None:
        if first is not None and not first.done():
            first.set_exception(error)
        else:
            self._on_failure(error)
