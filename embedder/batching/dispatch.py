"""From jobs that wait to workers that compute them: batches made at the last moment.

It is the `Listener` of all runners, and everything here happens on one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import count

import structlog

from embedder.batching.jobs import Batch, Job, Key
from embedder.batching.lanes import Lanes
from embedder.batching.pace import Pace
from embedder.batching.runner import Runner, Took
from embedder.batching.stations import Station, best, emptiest
from embedder.batching.traces import trace_batch, trace_wait
from embedder.encoders.encoder import Encoded
from embedder.metrics import NodeMetrics
from m3.errors import M3Error, NotFinite, WorkerLost
from m3.types import Kind

_BATCH_SECONDS = 0.25
"""What a batch should take at most: whatever comes meanwhile may have to wait that long."""
_FIRST_BUDGET = 512
"""Tokens of a batch before it is known how long they take."""
_HUNG_TIMES = 20
"""Times what a batch should take after which its worker is taken for hung."""
_LOSSES = 2
"""Workers that a text may lose; it has the second one to itself."""
_log = structlog.stdlib.get_logger("m3.embedder")


class Dispatcher:
    """Has jobs computed by the runners that attached themselves."""

    def __init__(self, *, max_batch_tokens: int, hung_seconds: float, metrics: NodeMetrics) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._hung_seconds = hung_seconds
        self._metrics = metrics
        self._lanes = Lanes(lambda lane, tokens: metrics.queue_tokens.labels(lane).set(tokens))
        self._pace = Pace()
        self._stations: dict[Runner, Station] = {}
        self._known: dict[Key, Job] = {}
        # Whether one that retired is yet to have a successor.
        self._replacing = False
        self._numbers = count(1)

    @property
    def workers(self) -> int:
        """Runners that are attached."""
        return len(self._stations)

    @property
    def tokens(self) -> Mapping[Kind, int]:
        """Tokens that wait, by lane, those being computed not among them."""
        return self._lanes.tokens

    def seconds(self, tokens: Mapping[Kind, int]) -> float:
        """What the workers take for so many tokens of each lane, by what they took of late."""
        return self._pace.seconds(tokens) / max(1, len(self._stations))

    def left(self) -> float:
        """Seconds until a worker should be done with what it computes."""
        now = time.monotonic()
        return min((station.left(now) for station in self._stations.values()), default=0.0)

    def find(self, key: Key) -> Job | None:
        """The job of that name that waits or is computed."""
        return self._known.get(key)

    def add(self, job: Job) -> None:
        """Let a job wait for its turn, in place of one of its name that is being computed."""
        self._known[job.key] = job
        self._lanes.add(job)

    def leave(self, jobs: Sequence[Job]) -> None:
        """Somebody stopped waiting for jobs: what nobody waits for is not computed."""
        for job in jobs:
            if not job.waiters and job.queued:
                self._forget(job)
        for batch in {job.batch for job in jobs if job.batch and not job.waiters}:
            self._drop_unless_wanted(batch)

    def dispatch(self) -> None:
        """Give batches to all workers that can begin with one."""
        while self._begin_one():
            pass
        self._metrics.queue_seconds.set(self.seconds(self.tokens))

    def _begin_one(self) -> bool:
        stations = list(self._stations.values())
        for lane in self._lanes.turns():
            first = self._lanes.first(lane)
            alone = first is not None and first.alone
            station = emptiest(stations) if alone else best(stations, lane)
            if station is None:
                continue
            if not alone or not station.batches:
                self._begin(station, lane)
                return True
            # Given more by the other lane, it might never be empty.
            stations.remove(station)
        return False

    def _begin(self, station: Station, lane: Kind) -> None:
        budget = self._budget(station, lane)
        jobs = self._still_wanted(self._lanes.take(lane, budget))
        if not jobs:
            return
        batch = Batch(next(self._numbers), lane, jobs)
        rate = self._pace.rate(lane)
        batch.expected = batch.tokens / rate if rate else 0.0
        patience = max(self._hung_seconds, _HUNG_TIMES * batch.expected)
        loop = asyncio.get_running_loop()
        batch.watch = loop.call_later(patience, self._hung, station, batch)
        for job in jobs:
            job.batch = batch
        self._observe_start(batch, budget)
        station.give(batch)

    def _budget(self, station: Station, lane: Kind) -> int:
        rate = self._pace.rate(lane)
        wanted = int(rate * _BATCH_SECONDS) if rate else _FIRST_BUDGET
        return max(1, min(wanted, self._max_batch_tokens, station.runner.capacity))

    def _still_wanted(self, jobs: Sequence[Job]) -> list[Job]:
        """Those that somebody waits for whose deadline has not passed."""
        now = time.monotonic()
        wanted: list[Job] = []
        for job in jobs:
            # All are asked: each whose time is up is told so.
            if any([request.waits(now) for request, _ in job.waiters]):  # noqa: C419
                wanted.append(job)
            else:
                self._forget(job)
        return wanted

    def _forget(self, job: Job) -> None:
        if self._known.get(job.key) is job:
            del self._known[job.key]
        if job.queued:
            self._lanes.remove(job)

    def _drop_unless_wanted(self, batch: Batch) -> None:
        station = next((s for s in self._stations.values() if batch.number in s.batches), None)
        if station is not None and not batch.wanted:
            for job in batch.jobs:
                self._forget(job)
            station.runner.drop(batch.number)

    def _hung(self, station: Station, batch: Batch) -> None:
        seconds = round(time.monotonic() - batch.began, 1)
        _log.error("a worker hangs", seconds=seconds, requests=batch.request_ids)
        # Not when it ends: a process that waits for its driver ends late, or never.
        self.lost(station.runner, "hung")
        station.runner.kill()

    # What runners tell.

    def attach(self, runner: Runner, rate: float) -> None:
        """See `Listener`."""
        self._pace.begin(rate)
        self._stations[runner] = Station(runner)
        self._replacing = False
        self._metrics.workers.set(len(self._stations))
        self.dispatch()

    def free(self, runner: Runner, number: int, interruptions: int) -> None:
        """See `Listener`."""
        if interruptions:
            self._metrics.batches_interrupted.inc()
        station = self._stations.get(runner)
        # The result may have been quicker.
        if station is not None and station.free(number) is not None:
            self.dispatch()

    def done(self, runner: Runner, number: int, encoded: Encoded, took: Took) -> None:
        """See `Listener`."""
        station = self._stations.get(runner)
        batch = station.take(number) if station else None
        if station is None or batch is None:
            return
        if batch.lane == "query":
            station.held_up += took.computing
        self._pace.observe(batch.lane, batch.tokens, took.computing)
        self._observe_end(batch, encoded.padding, took)
        for row, job in enumerate(batch.jobs):
            self._forget(job)
            if row in encoded.unfit:
                job.fail(NotFinite, "the model computed values that are not finite")
            else:
                job.found((encoded.batch, row))
        self.dispatch()

    def failed(self, runner: Runner, number: int, error: M3Error) -> None:
        """See `Listener`."""
        batch = self._take(runner, number)
        if batch is None:
            return
        _log.warning(
            "a batch failed",
            texts=len(batch.jobs),
            requests=batch.request_ids,
            error=error.message,
        )
        if len(batch.jobs) == 1 and batch.exclusive:
            self._forget(batch.jobs[0])
            batch.jobs[0].fail(type(error), error.message)
        else:
            self._again(batch.jobs)
        self.dispatch()

    def dropped(self, runner: Runner, number: int) -> None:
        """See `Listener`."""
        self._take(runner, number)
        self.dispatch()

    def retire(self, runner: Runner) -> None:
        """See `Listener`. One at a time: workers that had equal work wear out together."""
        station = self._stations.get(runner)
        if station is not None and not station.retiring and not self._replacing:
            _log.info("a worker retires", batches=len(station.batches))
            self._metrics.retired.inc()
            self._replacing = True
            station.retire()

    def lost(self, runner: Runner, reason: str) -> None:
        """See `Listener`."""
        station = self._stations.pop(runner, None)
        if station is None:
            return
        self._metrics.workers.set(len(self._stations))
        for number in sorted(station.batches, reverse=True):
            batch = station.take(number)
            if batch is not None:
                self._again([job for job in batch.jobs if self._survives(job, reason)])
        self.dispatch()

    def _survives(self, job: Job, reason: str) -> bool:
        """Whether a text whose worker was lost may have another; it is told where not."""
        job.losses += 1
        if job.losses < _LOSSES:
            return True
        self._forget(job)
        job.fail(WorkerLost, f"the worker that computed it {reason}, twice: see the node's log")
        return False

    def _again(self, jobs: Sequence[Job]) -> None:
        """To the front of their lane, each in a batch of its own: one bad text fails no other."""
        for job in reversed(self._still_wanted(jobs)):
            job.alone = True
            self._lanes.add(job, front=True)

    def _take(self, runner: Runner, number: int) -> Batch | None:
        station = self._stations.get(runner)
        return station.take(number) if station else None

    def _observe_end(self, batch: Batch, padding: int, took: Took) -> None:
        self._metrics.tokens.labels(batch.lane).inc(batch.tokens)
        self._metrics.padding.inc(padding)
        self._metrics.rate.labels(batch.lane).set(self._pace.rate(batch.lane))
        self._metrics.seconds.labels("compute").observe(took.computing)
        self._metrics.seconds.labels("finish").observe(took.finishing)
        trace_batch(batch, took)

    def _observe_start(self, batch: Batch, budget: int) -> None:
        self._metrics.batch_tokens.labels(batch.lane).observe(batch.tokens)
        self._metrics.batch_texts.labels(batch.lane).observe(len(batch.jobs))
        self._metrics.batch_fill.labels(batch.lane).observe(batch.tokens / budget)
        for request in {waiter for job in batch.jobs for waiter, _ in job.waiters}:
            if not request.begun:
                request.begun = True
                waited = batch.began - request.submitted
                self._metrics.seconds.labels("queue").observe(waited)
                trace_wait(request, batch.began)
