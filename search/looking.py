"""A look at a collection: candidates for a query, from one snapshot, with their exact scores."""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from embedder.client import EmbedderClient
from m3 import tracing
from m3.errors import GenerationChanged, M3Error, NotFound
from m3.types import Representation
from scoring.fusion import Weights
from search.collections import Collections
from search.degrade import Breakers, Budget, Part
from search.embed import QueryEmbedder
from search.request import SearchRequest
from search.rerank import ScoredCandidates, Stage, score
from search.response import Staged
from search.similar import Likeness, likeness, without
from store.contract import (
    MAX_DEPTH,
    Candidates,
    Collection,
    CollectionSpec,
    Defaults,
    Leg,
    Snapshot,
)
from store.filters import Filter, parse

T = TypeVar("T")

_ATTEMPTS = 3
_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Looks at a time. They are apart from other threads, which go on when all looks wait."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request that its collection has accepted, with what it comes to.

    Attributes:
        weights: by which it is ranked.
        stage: how many candidates get a ColBERT score; None: all.
    """

    request: SearchRequest
    collection: Collection
    spec: CollectionSpec
    filter: Filter | None
    weights: Weights
    stage: int | None


@dataclass(frozen=True, slots=True)
class Look:
    """What was found, scored: a ranking for any request of these legs.

    Attributes:
        embed, retrieve, rerank: seconds.
    """

    question: Question
    query: Representation
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

        Args:
            then: what is made of the look, in the thread that looked: to hand over to another
                takes longer than most of what is done with it.

        Raises:
            SnapshotGone: what a first stage read is kept no longer, or `then` says so.
        """
        attempt = 0
        while True:
            attempt += 1
            question = await asyncio.to_thread(self.accept, request)
            began = time.perf_counter()
            like = await self.query(question)
            asked = _Asked(question, like, time.perf_counter() - began)
            try:
                async with self._free:
                    return await self._looked(asked, legs, budget, then)
            except GenerationChanged:
                if attempt == _ATTEMPTS:
                    raise

    async def _looked(
        self, asked: _Asked, legs: Sequence[Leg], budget: Budget, then: Callable[[Look], T]
    ) -> T:
        """With those legs that are worth asking; what comes of them is told to the breakers."""
        name, within = asked.question.request.collection, budget.legs()
        refused = self.breakers.refused(name, legs)
        worth: list[Leg] = [leg for leg in legs if leg not in refused]
        outcomes: dict[Leg, M3Error | None] = {}
        try:
            if refused and not _can_answer(worth, asked.like):
                raise next(iter(refused.values()))
            look = partial(_look, asked, worth, refused, budget)
            dropped, made = await self._in_thread(lambda: _with_dropped(look(), then))
            outcomes.update({leg: dropped.get(leg) for leg in worth})
        except M3Error as error:
            outcomes.update(dict.fromkeys(worth, error))
            raise
        else:
            return made
        finally:
            self.breakers.release(name, worth)
            self.breakers.tell(name, outcomes, within)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        run = partial(contextvars.copy_context().run, work)
        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def accept(self, request: SearchRequest) -> Question:
        """Raises NotFound or InvalidInput for what its collection cannot answer."""
        collection = self._collections.open(request.collection, request.tenant)
        try:
            spec = collection.spec
        except NotFound:
            self._collections.forget(request.collection)
            raise
        filter_ = parse(request.filter, spec.fields) if request.filter is not None else None
        # Others need no second look at the record.
        saved = collection.defaults(spec) if request.takes_defaults else Defaults()
        weights = request.scoring_weights(saved.weights)
        stage = request.stage(saved.rerank_depth, weights)
        return Question(request, collection, spec, filter_, weights, stage)

    async def query(self, question: Question) -> Likeness:
        """The query as the collection's model sees it."""
        request = question.request
        if isinstance(request.query, str):
            text = await self._embedder.embed(request.query, question.spec, request.tenant)
            return Likeness(text, chunks=0)
        return await asyncio.to_thread(likeness, question.collection, request.query)


def _can_answer(legs: Sequence[Leg], like: Likeness) -> bool:
    return any(leg != "sparse" or len(like.query.sparse_ids) for leg in legs)


def _with_dropped(look: Look, then: Callable[[Look], T]) -> tuple[Mapping[Part, M3Error], T]:
    return look.candidates.dropped, then(look)


def _look(
    asked: _Asked, legs: Sequence[Leg], refused: Mapping[Leg, M3Error], budget: Budget
) -> Look:
    """Retrieve and score; it waits for disks and computes, so it runs off the event loop."""
    began = time.perf_counter()
    with tracing.span("search.retrieve"):
        found, staged = _found(asked, legs, refused, budget)
    retrieved = time.perf_counter()
    query, ends = asked.like.query, budget.colbert_ends()
    with tracing.span("search.rerank", {"m3.candidates": len(found.rows.chunks)}):
        scored = score(query, found.rows, found.legs, found.failed, ends=ends, staged=staged)
    return Look(
        question=asked.question,
        query=query,
        candidates=scored,
        snapshot=found.snapshot,
        embed=asked.embed,
        retrieve=retrieved - began,
        rerank=time.perf_counter() - retrieved,
    )


def _found(
    asked: _Asked, legs: Sequence[Leg], refused: Mapping[Leg, M3Error], budget: Budget
) -> tuple[Candidates, Staged | None]:
    """What is to be ranked, with its rows whole; of two stages that is what the first chooses.

    Raises:
        SnapshotGone: the collection went on, and what was read first is kept no longer.
    """
    question, like = asked.question, asked.like
    request, stage = question.request, None
    if question.stage is not None:
        stage = Stage(question.stage, question.weights)
    found = question.collection.candidates(
        like.query,
        legs=legs,
        depth=min(request.depth + like.chunks, MAX_DEPTH),
        tenant=request.tenant,
        filter=question.filter,
        words=request.words,
        spec=question.spec,
        within=budget.legs(),
        codes=stage is None,
    )
    found = replace(found, failed={**refused, **found.failed})
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
