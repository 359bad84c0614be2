"""The one way a search goes: HTTP, command line and evaluation all call `SearchService.search`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from embedder.client import EmbedderClient
from m3.errors import GenerationChanged, NotFound
from m3.types import Representation
from scoring.fusion import Method
from search.collections import Collections
from search.embed import QueryEmbedder
from search.explain import TermName, explain, term_names
from search.request import SearchRequest, legs_of
from search.rerank import Scored, ScoredCandidates, score
from search.response import Hit, SearchResponse, Timings
from store.contract import Collection, CollectionSpec, Leg, Store
from store.filters import Filter, parse

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class _Question:
    """A request that its collection has accepted."""

    request: SearchRequest
    collection: Collection
    spec: CollectionSpec
    filter: Filter | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a look at the collection found, scored: hits for any method whose legs were asked."""

    candidates: ScoredCandidates
    legs: Mapping[Leg, Sequence[int]]
    retrieve_seconds: float
    rerank_seconds: float
    embed_seconds: float = 0.0

    def hits(self, method: Method, request: SearchRequest) -> Sequence[Scored]:
        found = set[int]().union(*(self.legs[leg] for leg in legs_of(method)))
        page = slice(request.offset, request.offset + request.top_k)
        return self.candidates.page(request.scoring_weights, page, among=found)


class SearchService:
    """Queries to hits, over a store and an embedder node.

    Candidates of the request's legs, then three exact scores for each of them, then their
    fusion: a document that one leg found has its true score of the other.
    """

    def __init__(self, store: Store, client: EmbedderClient) -> None:
        self.collections = Collections(store)
        self._client = client
        self._embedder = QueryEmbedder(client)
        self._term_names: dict[str, TermName] = {}

    async def search(self, request: SearchRequest) -> SearchResponse:
        """The page of hits that was asked for.

        Raises:
            NotFound: no such collection.
            InvalidInput: the filter does not fit the collection, or the query is too long.
            ModelMismatch: no node serves the collection's model.
            Unreachable: the node or Milvus; each by its own class.
        """
        began = time.perf_counter()
        question, query, answer = await self._ask(request, request.legs)
        scored = time.perf_counter()
        hits = answer.hits(request.method, request)
        ranking_seconds = time.perf_counter() - scored
        names = await self._names(question.spec) if request.explain else None
        return SearchResponse(
            hits=[_hit(scored, query, request, names) for scored in hits],
            timings_ms=Timings(
                embed=_ms(answer.embed_seconds),
                retrieve=_ms(answer.retrieve_seconds),
                rerank=_ms(answer.rerank_seconds + ranking_seconds),
                total=_ms(time.perf_counter() - began),
            ),
        )

    async def search_by(
        self, request: SearchRequest, methods: Sequence[Method]
    ) -> Mapping[Method, Sequence[Hit]]:
        """The hits that `search` would give for each method, from one look at the collection.

        Raises:
            As `search` does.
        """
        legs: dict[Leg, None] = dict.fromkeys(leg for m in methods for leg in legs_of(m))
        _, query, answer = await self._ask(request, tuple(legs))
        asked = {method: replace(request, method=method, weights=None) for method in methods}
        return {
            method: [_hit(hit, query, one, None) for hit in answer.hits(method, one)]
            for method, one in asked.items()
        }

    async def _ask(
        self, request: SearchRequest, legs: Sequence[Leg]
    ) -> tuple[_Question, Representation, _Answer]:
        """Embed the query and look. Where another generation comes to serve in between, again."""
        attempt = 0
        while True:
            attempt += 1
            question = await asyncio.to_thread(self._accept, request)
            began = time.perf_counter()
            query = await self._embedder.embed(request.query, question.spec, request.tenant)
            embedded = time.perf_counter() - began
            try:
                answer = await asyncio.to_thread(_answer, question, query, legs)
            except GenerationChanged:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return question, query, replace(answer, embed_seconds=embedded)

    def _accept(self, request: SearchRequest) -> _Question:
        collection = self.collections.open(request.collection, request.tenant)
        try:
            spec = collection.spec
        except NotFound:
            self.collections.forget(request.collection)
            raise
        filter_ = parse(request.filter, spec.fields) if request.filter is not None else None
        return _Question(request, collection, spec, filter_)

    async def _names(self, spec: CollectionSpec) -> TermName:
        if spec.fingerprint not in self._term_names:
            tokenizer = await self._client.tokenizer(spec.fingerprint)
            self._term_names[spec.fingerprint] = await asyncio.to_thread(term_names, tokenizer)
        return self._term_names[spec.fingerprint]


def _answer(question: _Question, query: Representation, legs: Sequence[Leg]) -> _Answer:
    """Retrieve and score; it waits for disks and computes, so it runs off the event loop."""
    began = time.perf_counter()
    found = question.collection.candidates(
        query,
        legs=legs,
        depth=question.request.depth,
        tenant=question.request.tenant,
        filter=question.filter,
        words=question.request.words,
        spec=question.spec,
    )
    retrieved = time.perf_counter()
    scored = score(query, found.rows)
    return _Answer(scored, found.legs, retrieved - began, time.perf_counter() - retrieved)


def _hit(
    scored: Scored, query: Representation, request: SearchRequest, names: TermName | None
) -> Hit:
    chunk = scored.chunk
    return Hit(
        id=chunk.id,
        document_id=chunk.document_id,
        source=chunk.source,
        position=chunk.position,
        score=scored.score,
        scores=scored.scores,
        title=chunk.title,
        text=chunk.text,
        metadata=chunk.metadata,
        heading=chunk.heading,
        page=chunk.page,
        start=chunk.start,
        end=chunk.end,
        explain=explain(query, scored, request.scoring_weights, names) if names else None,
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
