"""What each worker has to do, and whether it may be given more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from embedder.batching.jobs import Batch
from embedder.batching.runner import Runner
from m3.types import Kind

_INTERRUPTIONS = 4.0
"""Times a passage batch's own seconds that queries may hold it up: a fifth of them is left."""
_OWED, _OWED_PASSAGES = 2, 1
"""Launched batches whose results a worker may owe when another is launched, and how many of them
may be passages when it is one: results are written while the next is computed, and a GPU, which
takes batches ahead, has it at hand. A query is computed behind all that was launched."""


@dataclass(slots=True, eq=False)
class Station:
    """A worker's batches.

    Attributes:
        batches: all that it has, by number.
        computing: those whose forward pass is not done.
        held_up: seconds of queries since the passage batch that it computes began.
        retiring: it gets no more, and is ended when it has done what it has.
    """

    runner: Runner
    batches: dict[int, Batch] = field(default_factory=dict[int, Batch])
    computing: dict[Kind, Batch] = field(default_factory=dict[Kind, Batch])
    held_up: float = 0.0
    retiring: bool = False

    def give(self, batch: Batch) -> None:
        self.batches[batch.number] = batch
        self.computing[batch.lane] = batch
        if batch.lane == "passage":
            self.held_up = 0.0
        self.runner.run(
            batch.number,
            batch.lane,
            [job.ids for job in batch.jobs],
            batch.outputs,
            batch.codec,
        )

    def left(self, now: float) -> float:
        """Seconds that what it computes should still take."""
        return sum(max(0.0, b.began + b.expected - now) for b in self.computing.values())

    def free(self, number: int) -> Batch | None:
        """The batch, if its forward pass was not known to be done."""
        batch = self.batches.get(number)
        if batch is None or self.computing.get(batch.lane) is not batch:
            return None
        return self.computing.pop(batch.lane)

    def take(self, number: int) -> Batch | None:
        """The batch, if it was still the worker's."""
        self.free(number)
        batch = self.batches.pop(number, None)
        if batch is not None and batch.watch is not None:
            batch.watch.cancel()
        if self.retiring and not self.batches:
            self.runner.close()
        return batch

    def retire(self) -> None:
        """Let it end in peace, at once where it has nothing to do."""
        self.retiring = True
        if not self.batches:
            self.runner.close()

    def accepts(self, lane: Kind) -> bool:
        """Whether it may be given a batch now: a passage's when idle, a query's in between too."""
        if self.retiring:
            return False
        if any(batch.exclusive for batch in self.batches.values()) or self._owes(lane):
            return False
        if lane == "passage" or not self.computing:
            return not self.computing
        passage = self.computing.get("passage")
        if passage is None or "query" in self.computing:
            return False
        return not passage.expected or self.held_up < _INTERRUPTIONS * passage.expected

    def _owes(self, lane: Kind) -> bool:
        """Whether it has results to give before it may launch another batch of `lane`."""
        computing = self.computing.values()
        owed = [batch.lane for batch in self.batches.values() if batch not in computing]
        # Counts no queries: those without end would always be over the passages' limit.
        passages = owed.count("passage") if lane == "passage" else 0
        return len(owed) > _OWED or passages > _OWED_PASSAGES


def best(stations: Iterable[Station], lane: Kind) -> Station | None:
    """Who should have a batch of `lane`: a worker without any before one that is interrupted."""
    able = [station for station in stations if station.accepts(lane)]
    return min(able, key=lambda s: (len(s.computing), len(s.batches)), default=None)


def emptiest(stations: Iterable[Station]) -> Station | None:
    """Who should have what is computed with nothing beside it, once it has done what it has."""
    staying = [station for station in stations if not station.retiring]
    return min(staying, key=lambda station: len(station.batches), default=None)
