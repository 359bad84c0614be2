"""A look at a collection: candidates for a query, from one snapshot, with their exact scores."""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from embedder.client import EmbedderClient
from m3 import tracing
from m3.errors import GenerationChanged, InvalidInput, M3Error, ModelMismatch, NotFound
from m3.types import Representation
from scoring.fusion import Weights
from search.collections import Collections, Opened
from search.degrade import Breakers, Budget
from search.embed import QueryEmbedder
from search.request import SearchRequest
from search.rerank import ScoredCandidates, Stage, score
from search.response import Staged
from search.similar import Likeness, likeness, without
from store.candidates import MAX_DEPTH, Candidates, Leg, Snapshot, looking
from store.contract import Collection
from store.filters import Filter, parse
from store.reports import Defaults
from store.spec import CollectionSpec

T = TypeVar("T")

_ATTEMPTS = 3
_OUTDATED = (GenerationChanged, ModelMismatch, NotFound)
"""What may be no longer so by what the collection is now."""
_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Looks at a time. They are apart from other threads, which go on when all looks wait."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request that its collection has accepted."""

    request: SearchRequest
    collection: Collection
    spec: CollectionSpec
    filter: Filter | None

    def ranked_by(self) -> tuple[Weights, int | None]:
        """Weights, and how many candidates get a ColBERT score, None for all.

        Each is the request's own, or the collection's as it is now, or the method's.

        Raises:
            InvalidInput: the collection ranks fewer than are asked for.
        """
        request = self.request
        # Others need no look at the record.
        saved = self.collection.defaults(self.spec) if request.takes_defaults else Defaults()
        weights = request.scoring_weights(saved.weights)
        return weights, request.stage(saved.rerank_depth, weights)


@dataclass(frozen=True, slots=True)
class Look:
    """What was found, scored: a ranking for any request of these legs.

    Attributes:
        stage: how many candidates were to get a ColBERT score; None: all.
        embed, retrieve, rerank: seconds.
    """

    question: Question
    query: Representation
    weights: Weights
    stage: int | None
    candidates: ScoredCandidates
    snapshot: Snapshot
    embed: float
    retrieve: float
    rerank: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question with its query as the model sees it, which took so many seconds."""

    question: Question
    like: Likeness
    embed: float


@dataclass(frozen=True, slots=True)
class _Legs:
    """The legs of one look.

    Attributes:
        asked: those that are worth asking.
        refused: the others, and why.
        outcomes: what came of those that were asked for something, None for an answer. The thread
            that looks notes it; what fails later, as rows and ranking may, is no leg's fault.
    """

    asked: Sequence[Leg]
    refused: Mapping[Leg, M3Error]
    outcomes: dict[Leg, M3Error | None] = field(default_factory=dict[Leg, M3Error | None])


class Looker:
    """Looks for many requests at once."""

    def __init__(self, collections: Collections, client: EmbedderClient) -> None:
        self._collections = collections
        self._embedder = QueryEmbedder(client)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="m3-look")
        # A leg is asked for, or not, by what is known when there is a thread for it.
        self._free = asyncio.Semaphore(_THREADS)
        self.breakers = Breakers()

    async def look(
        self,
        request: SearchRequest,
        legs: Sequence[Leg],
        budget: Budget,
        then: Callable[[Look], T],
    ) -> T:
        """Embed the query and look. Where another generation comes to serve in between, again.

        The first time by what is remembered of the collection: a look notices if that is no
        longer true, and to find it out beforehand takes a thread and a read.

        Args:
            then: what is made of the look, in the thread that looked: to hand over to another
                takes longer than most of what is done with it.
        """
        if (remembered := self._remembered(request)) is not None:
            with suppress(*_OUTDATED):
                return await self._asked(remembered, legs, budget, then)
        attempt = 0
        while True:
            attempt += 1
            question = await asyncio.to_thread(self.accept, request)
            try:
                return await self._asked(question, legs, budget, then)
            except GenerationChanged:
                if attempt == _ATTEMPTS:
                    raise

    async def _asked(
        self, question: Question, legs: Sequence[Leg], budget: Budget, then: Callable[[Look], T]
    ) -> T:
        began = time.perf_counter()
        like = await self.query(question)
        asked = _Asked(question, like, time.perf_counter() - began)
        async with self._free:
            return await self._looked(asked, legs, budget, then)

    async def _looked(
        self, asked: _Asked, legs: Sequence[Leg], budget: Budget, then: Callable[[Look], T]
    ) -> T:
        """With those legs that are worth asking; what comes of them is told to the breakers."""
        name, within = asked.question.request.collection, budget.legs()
        refused = self.breakers.refused(name, legs)
        worth = _Legs([leg for leg in legs if leg not in refused], refused)
        try:
            if refused and not looking(worth.asked, asked.like.query):
                raise next(iter(refused.values()))
            return await self._in_thread(lambda: then(_look(asked, worth, budget)))
        finally:
            self.breakers.release(name, worth.asked)
            # A copy, as the thread of a search that was given up may still be looking.
            self.breakers.tell(name, dict(worth.outcomes), within)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        run = partial(contextvars.copy_context().run, work)
        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def accept(self, request: SearchRequest) -> Question:
        """Raises NotFound or InvalidInput for what its collection cannot answer."""
        return _question(request, self._collections.look_at(request.collection, request.tenant))

    def _remembered(self, request: SearchRequest) -> Question | None:
        """None where nothing is, or a filter does not fit it, which may fit by now."""
        opened = self._collections.remembered(request.collection, request.tenant)
        with suppress(InvalidInput):
            return None if opened is None else _question(request, opened)
        return None

    async def query(self, question: Question) -> Likeness:
        """The query as the collection's model sees it."""
        request = question.request
        if isinstance(request.query, str):
            text = await self._embedder.embed(request.query, question.spec, request.tenant)
            return Likeness(text, chunks=0)
        return await asyncio.to_thread(likeness, question.collection, request.query)


def _question(request: SearchRequest, opened: Opened) -> Question:
    spec = opened.spec
    filter_ = parse(request.filter, spec.fields) if request.filter is not None else None
    return Question(request, opened.collection, spec, filter_)


def _look(asked: _Asked, legs: _Legs, budget: Budget) -> Look:
    """Retrieve and score; it waits for disks and computes, so it runs off the event loop."""
    began = time.perf_counter()
    weights, depth = asked.question.ranked_by()
    stage = None if depth is None else Stage(depth, weights)
    with tracing.span("search.retrieve"):
        found, staged = _found(asked, stage, legs, budget)
    retrieved = time.perf_counter()
    query, ends = asked.like.query, budget.colbert_ends()
    with tracing.span("search.rerank", {"m3.candidates": len(found.rows.chunks)}):
        scored = score(query, found.rows, found.legs, found.failed, ends=ends, staged=staged)
    return Look(
        question=asked.question,
        query=query,
        weights=weights,
        stage=depth,
        candidates=scored,
        snapshot=found.snapshot,
        embed=asked.embed,
        retrieve=retrieved - began,
        rerank=time.perf_counter() - retrieved,
    )


def _found(
    asked: _Asked, stage: Stage | None, legs: _Legs, budget: Budget
) -> tuple[Candidates, Staged | None]:
    """What is to be ranked, with its rows whole; of two stages that is what the first chooses.

    Raises:
        SnapshotGone: the collection went on, and what was read first is kept no longer.
    """
    question, like = asked.question, asked.like
    request = question.request
    found = _candidates(asked, legs, budget, codes=stage is None)
    if not isinstance(request.query, str):
        own = without(request.query, found.rows, found.legs, request.depth)
        found = replace(found, legs=own)
    if stage is None:
        return found, None
    chosen, staged = stage.chosen(like.query, found.rows, found.legs, found.failed)
    rows = question.collection.rows(
        list(set[int]().union(*chosen.values())), tenant=request.tenant, snapshot=found.snapshot
    )
    return replace(found, rows=rows, legs=chosen), staged


def _candidates(asked: _Asked, legs: _Legs, budget: Budget, *, codes: bool) -> Candidates:
    question, like = asked.question, asked.like
    request, sought = question.request, looking(legs.asked, like.query)
    try:
        found = question.collection.candidates(
            like.query,
            legs=legs.asked,
            depth=min(request.depth + like.chunks, MAX_DEPTH),
            tenant=request.tenant,
            filter=question.filter,
            words=request.words,
            spec=question.spec,
            within=budget.legs(),
            codes=codes,
        )
    except M3Error as error:
        legs.outcomes.update(dict.fromkeys(sought, error))
        raise
    legs.outcomes.update({leg: found.failed.get(leg) for leg in sought})
    return replace(found, failed={**legs.refused, **found.failed})
