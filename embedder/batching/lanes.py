"""Where jobs wait: two lanes counted in tokens, each in the order of arrival."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from embedder.batching.jobs import Job
from embedder.batching.pace import LANES
from m3.types import Kind

_QUERY_BATCHES = 4
"""Query batches in a row before waiting passages get one."""

Count = Callable[[Kind, int], None]


class Lanes:
    """Queries go before passages; the lanes are never mixed, as a query would wait for both."""

    def __init__(self, count: Count) -> None:
        """Tell `count` the tokens of a lane whenever they change."""
        self._count = count
        self._jobs: Mapping[Kind, OrderedDict[Job, None]] = {lane: OrderedDict() for lane in LANES}
        self._tokens: dict[Kind, int] = dict.fromkeys(LANES, 0)
        self._query_batches = 0

    @property
    def tokens(self) -> Mapping[Kind, int]:
        """Tokens that wait, by lane."""
        return self._tokens

    def add(self, job: Job, *, front: bool = False) -> None:
        """Let a job wait, behind all others or before them."""
        job.queued = True
        self._jobs[job.lane][job] = None
        if front:
            self._jobs[job.lane].move_to_end(job, last=False)
        self._add(job.lane, job.tokens)

    def remove(self, job: Job) -> None:
        """Take a job that waits out of its lane."""
        job.queued = False
        del self._jobs[job.lane][job]
        self._add(job.lane, -job.tokens)

    def first(self, lane: Kind) -> Job | None:
        """What the lane's next batch begins with."""
        return next(iter(self._jobs[lane]), None)

    def take(self, lane: Kind, budget: int) -> list[Job]:
        """Jobs from the front of a lane that holds one: up to `budget` tokens, at least one job."""
        taken = [self._pop(lane)]
        left = budget - taken[0].tokens
        while not taken[0].alone and (job := self.first(lane)) is not None:
            if job.alone or job.tokens > left:
                break
            taken.append(self._pop(lane))
            left -= job.tokens
        self._query_batches = self._query_batches + 1 if lane == "query" else 0
        return taken

    def turns(self) -> tuple[Kind, ...]:
        """The lanes in which somebody waits, the one whose turn it is first.

        Queries first, but passages that wait get every fifth batch.
        """
        waiting: list[Kind] = [lane for lane in LANES if self._jobs[lane]]
        if self._query_batches >= _QUERY_BATCHES:
            waiting.reverse()
        return tuple(waiting)

    def _pop(self, lane: Kind) -> Job:
        job, _ = self._jobs[lane].popitem(last=False)
        job.queued = False
        self._add(lane, -job.tokens)
        return job

    def _add(self, lane: Kind, tokens: int) -> None:
        self._tokens[lane] += tokens
        self._count(lane, self._tokens[lane])
