"""What callers wait for, what is computed for them, and what is computed at once."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from embedder.model.tokens import TokenizedText
from m3 import tracing
from m3.errors import DeadlineExceeded, M3Error
from m3.types import Codec, EmbeddingBatch, Kind, Output

Place: TypeAlias = tuple[EmbeddingBatch, int]
"""A batch that was computed, and the row in it."""
Key: TypeAlias = tuple[Kind, bytes]
"""Names what is computed: texts of equal ids in one lane are the same job."""


@dataclass(slots=True, eq=False)
class Request:
    """What one caller waits for: every text's place.

    Attributes:
        deadline: on the monotonic clock.
        id: names it in logs; "" for one that nobody sent.
        parent: the span that it is in, where it is traced.
        jobs: of its texts, in their order; one job may be there more than once.
        places: found so far, by text.
    """

    lane: Kind
    texts: Sequence[TokenizedText]
    outputs: frozenset[Output]
    codec: Codec
    done: asyncio.Future[list[Place]]
    submitted: float
    deadline: float | None = None
    id: str = ""
    parent: tracing.Parent | None = None
    jobs: list[Job] = field(default_factory=list["Job"])
    places: dict[int, Place] = field(default_factory=dict[int, Place])
    begun: bool = False
    """Whether one of its texts left the queue."""

    @property
    def tokens(self) -> int:
        return sum(len(text.ids) for text in self.texts)

    def waits(self, now: float) -> bool:
        """Whether an answer would still be of use."""
        if self.deadline is not None and now >= self.deadline:
            self.fail(self.late())
        return not self.done.done()

    def late(self) -> DeadlineExceeded:
        allowed = (self.deadline or self.submitted) - self.submitted
        return DeadlineExceeded(
            f"no result within {allowed:.3g} s: send less at once or allow more time"
        )

    def found(self, index: int, place: Place) -> None:
        """Take a text's place; the last one completes the request."""
        self.places[index] = place
        if len(self.places) == len(self.texts) and not self.done.done():
            self.done.set_result([self.places[i] for i in range(len(self.texts))])

    def fail(self, error: Exception) -> None:
        """Answer nothing but `error`; whoever waits takes its jobs back."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True, eq=False)
class Job:
    """One text to compute, for everybody who asked for it meanwhile.

    Attributes:
        ids: int32, as they travel to a worker.
        alone: in a batch of its own, with nothing beside it: one like it failed or was lost.
        losses: workers that died while they had it.
        batch: what it is computed in, or was last.
    """

    lane: Kind
    ids: bytes
    outputs: frozenset[Output]
    codec: Codec
    waiters: list[tuple[Request, int]] = field(default_factory=list[tuple[Request, int]])
    alone: bool = False
    losses: int = 0
    batch: Batch | None = None
    queued: bool = False

    @property
    def key(self) -> Key:
        return self.lane, self.ids

    @property
    def tokens(self) -> int:
        return len(self.ids) // 4

    def suits(self, request: Request) -> bool:
        """Whether its result will hold what `request` wants, widened if it still can be."""
        if self.queued:
            return True
        return request.outputs <= self.outputs and request.codec is self.codec

    def join(self, request: Request, index: int) -> None:
        """Compute it for text `index` of `request` too; one that is queued widens."""
        self.waiters.append((request, index))
        request.jobs.append(self)
        if self.queued:
            self.outputs |= request.outputs
            self.codec = _common({self.codec, request.codec})

    def leave(self, request: Request) -> None:
        """Whoever else waits for it still does."""
        self.waiters = [waiter for waiter in self.waiters if waiter[0] is not request]

    def found(self, place: Place) -> None:
        """Tell all who wait for it."""
        for request, index in self.waiters:
            request.found(index, place)

    def fail(self, kind: type[M3Error], reason: str) -> None:
        """Fail all who wait for it, each told which of theirs it is."""
        for request, index in self.waiters:
            request.fail(kind(f"input[{index}]: {reason}"))


@dataclass(slots=True, eq=False)
class Batch:
    """Jobs of one lane that a worker computes at once.

    Attributes:
        number: names it in frames.
        expected: seconds it should take, by what was measured; 0 where nothing was.
    """

    number: int
    lane: Kind
    jobs: Sequence[Job]
    expected: float = 0.0
    watch: asyncio.TimerHandle | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def tokens(self) -> int:
        return sum(job.tokens for job in self.jobs)

    @property
    def outputs(self) -> frozenset[Output]:
        """Of every job: texts of different outputs share a forward pass."""
        return frozenset[Output]().union(*(job.outputs for job in self.jobs))

    @property
    def codec(self) -> Codec:
        return _common({job.codec for job in self.jobs})

    @property
    def exclusive(self) -> bool:
        return any(job.alone for job in self.jobs)

    @property
    def request_ids(self) -> list[str]:
        """Of all who wait for it."""
        return sorted({request.id for job in self.jobs for request, _ in job.waiters})

    @property
    def wanted(self) -> bool:
        return any(job.waiters for job in self.jobs)


def key_of(lane: Kind, text: TokenizedText) -> Key:
    """What names a text's job."""
    return lane, array("i", text.ids).tobytes()


def _common(codecs: set[Codec]) -> Codec:
    """The codec that all the others can be had from."""
    return codecs.pop() if len(codecs) == 1 else Codec.FP32
