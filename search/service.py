"""The one way a search goes: HTTP, command line and evaluation all call `SearchService.search`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from embedder.client import EmbedderClient
from m3 import tracing
from m3.errors import DeadlineExceeded, PageExpired, SnapshotGone
from m3.types import Representation
from search.collections import Collections
from search.degrade import Budget
from search.explain.explainer import Explainer
from search.explain.tokens import Tokens
from search.hits import Explain, hits
from search.looking import Look, Looker, Question
from search.paging import Page, Ranking, Rankings
from search.ranking import Place, Rank
from search.request import SearchRequest
from search.response import Hit, SearchResponse, Timings
from store.candidates import Snapshot
from store.chunks import StoredChunk
from store.contract import Store

_LOOKS = 3


@dataclass(frozen=True, slots=True)
class _Found:
    """A look with its ranking, and the texts of the page that was asked for, by row.

    Attributes:
        ranked, read: seconds that ranking took, and reading the texts.
    """

    look: Look
    ranking: Ranking
    chunks: Mapping[int, StoredChunk]
    ranked: float
    read: float


class SearchService:
    """Queries to hits, over a store and an embedder node.

    Candidates of the request's legs, then three exact scores for each of them, then their
    fusion: a document that one leg found has its true score of the other. Later pages are cut
    from the ranking of the first, and their rows read as they were for it.
    """

    def __init__(self, store: Store, client: EmbedderClient, generation: int | None = None) -> None:
        self.collections = Collections(store, generation)
        self._client = client
        self._looker = Looker(self.collections, client)
        self.breakers = self._looker.breakers
        self._rankings = Rankings()
        self._tokens: dict[str, Tokens] = {}

    async def search(self, request: SearchRequest) -> SearchResponse:
        """The page of hits that was asked for.

        Raises:
            NotFound: no such collection, or no such document to be similar to.
            InvalidInput: the filter does not fit the collection, or the query is too long.
            PageExpired: what the page is of is kept no longer, and the collection has gone on.
            ModelMismatch: no node serves the collection's model.
            Unreachable: the node or Milvus; each by its own class.
            DeadlineExceeded: there was nothing to show within `timeout_ms`.
        """
        with tracing.span("search", _attributes(request)) as span:
            response = await self._searched(request)
            span.add({"m3.hits": len(response.hits), "m3.degraded": response.degraded})
            return response

    async def _searched(self, request: SearchRequest) -> SearchResponse:
        began, budget = time.perf_counter(), Budget.of(request.timeout_ms)
        limit = asyncio.timeout(budget.left())
        try:
            async with limit:
                response = await self._kept_page(request)
                response = response or await self._fresh_page(request, budget)
        except SnapshotGone as error:
            raise _expired() from error
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeadlineExceeded(
                f"nothing was found within timeout_ms ({request.timeout_ms}): give it more"
            ) from error
        total = _ms(time.perf_counter() - began)
        return replace(response, timings_ms=replace(response.timings_ms, total=total))

    async def look(self, request: SearchRequest) -> Look:
        """All candidates of the request's legs with their exact scores, in no order yet.

        Raises:
            As `search` does, and for parts that failed, which `search` does without.
        """
        look = await self._looker.look(request, request.legs, Budget.of(None), lambda look: look)
        for error in look.candidates.dropped.values():
            raise error
        return look

    async def texts(self, look: Look) -> Mapping[int, StoredChunk]:
        """The texts of all candidates of a look, by row.

        Raises:
            SnapshotGone: what was looked at is kept no longer.
        """
        question = look.question
        return await asyncio.to_thread(
            question.collection.chunks,
            [chunk.row for chunk in look.candidates.rows.chunks],
            tenant=question.request.tenant,
            snapshot=look.snapshot,
        )

    async def _fresh_page(self, request: SearchRequest, budget: Budget) -> SearchResponse:
        """From a look at the collection. Where that goes on before the texts are read, again."""
        for _ in range(_LOOKS - 1):
            try:
                return await self._looked_up(request, budget)
            except SnapshotGone:
                continue
        return await self._looked_up(request, budget)

    async def _looked_up(self, request: SearchRequest, budget: Budget) -> SearchResponse:
        found = await self._looker.look(request, request.legs, budget, _found)
        look, ranking = found.look, found.ranking
        explain = None
        if request.explain:
            vectors = look.candidates.rows.by_row()
            explain = await self._explain(look.question, ranking, look.query, vectors)
        hits = await self._hits(look.question, ranking, found.chunks, explain)
        timings = Timings(
            embed=_ms(look.embed),
            retrieve=_ms(look.retrieve + found.read),
            rerank=_ms(look.rerank + found.ranked),
            total=0.0,
        )
        return self._response(hits, timings, request, ranking)

    async def _kept_page(self, request: SearchRequest) -> SearchResponse | None:
        """From the ranking that another page has left, if it is there."""
        ranking = None if request.page is None else self._rankings.of(request.page)
        if ranking is None:
            return None
        began = time.perf_counter()
        question = await asyncio.to_thread(self._looker.accept, request)
        chunks = await asyncio.to_thread(_chunks, question, ranking)
        read = embedded = time.perf_counter()
        explain = None
        if request.explain:
            query = ranking.like or (await self._looker.query(question)).query
            embedded = time.perf_counter()
            vectors = await asyncio.to_thread(_vectors, question, list(chunks), ranking.snapshot)
            explain = await self._explain(question, ranking, query, vectors)
        found = await self._hits(question, ranking, chunks, explain)
        timings = Timings(_ms(embedded - read), _ms(read - began), 0.0, 0.0)
        return self._response(found, timings, request, ranking)

    def _response(
        self, found: Sequence[Hit], timings: Timings, request: SearchRequest, ranking: Ranking
    ) -> SearchResponse:
        after = self._next(request, ranking)
        return SearchResponse(found, timings, ranking.degraded, after, ranking.staged)

    async def _hits(
        self,
        question: Question,
        ranking: Ranking,
        chunks: Mapping[int, StoredChunk],
        explain: Explain | None,
    ) -> Sequence[Hit]:
        request = question.request
        around = None
        if request.neighbours:
            around = await asyncio.to_thread(
                question.collection.around,
                list(chunks.values()),
                request.neighbours,
                ranking.snapshot,
            )
        grouped = request.group_by is not None
        made = partial(hits, _cut(request, ranking), chunks, around=around, grouped=grouped)
        return await asyncio.to_thread(made, explain=explain) if explain else made()

    def _next(self, request: SearchRequest, ranking: Ranking) -> str | None:
        """The token of the page after the request's, whose ranking is kept for it."""
        after = request.offset + request.top_k
        if after >= min(request.depth, len(ranking.places)):
            return None
        stage = ranking.stage or 0
        page = Page(request.digest(), ranking.digest(), request.depth, stage, after)
        self._rankings.keep(page, ranking)
        return page.token()

    async def _explain(
        self,
        question: Question,
        ranking: Ranking,
        query: Representation,
        vectors: Mapping[int, Representation],
    ) -> Explain:
        spec, request = question.spec, question.request
        if spec.fingerprint not in self._tokens:
            tokenizer = await self._client.tokenizer(spec.fingerprint)
            self._tokens[spec.fingerprint] = await asyncio.to_thread(Tokens, tokenizer)
        weights = ranking.weights.without(ranking.degraded)
        weights = None if request.rank is Rank.RRF else weights
        tokens = self._tokens[spec.fingerprint]
        explainer = Explainer(query, tokens, spec.chunking.context, weights)
        return lambda place, chunk: explainer.explain(place, chunk, vectors[place.row])


def _attributes(request: SearchRequest) -> tracing.Attributes:
    """Nothing of what was asked."""
    return {
        "m3.collection": request.collection,
        "m3.method": request.method,
        "m3.rank": request.rank,
        "m3.candidates": request.depth,
        "m3.top_k": request.top_k,
        "m3.offset": request.offset,
        "m3.filtered": request.filter is not None,
    }


def _found(look: Look) -> _Found:
    """Raises PageExpired where a page of another snapshot is asked for: of that there is none."""
    request, began = look.question.request, time.perf_counter()
    places = look.candidates.ranking(request, look.weights)
    ranking = Ranking(
        places,
        len(look.candidates.rows.chunks),
        look.snapshot,
        look.weights,
        look.candidates.degraded,
        look.candidates.staged,
        look.stage,
        None if isinstance(request.query, str) else look.query,
    )
    if request.page is not None and request.page.snapshot != ranking.digest():
        raise _expired()
    ranked = time.perf_counter()
    chunks = _chunks(look.question, ranking)
    return _Found(look, ranking, chunks, ranked - began, time.perf_counter() - ranked)


def _chunks(question: Question, ranking: Ranking) -> Mapping[int, StoredChunk]:
    """Of the request's page, by row."""
    return question.collection.chunks(
        [place.row for place in _cut(question.request, ranking)],
        tenant=question.request.tenant,
        snapshot=ranking.snapshot,
    )


def _cut(request: SearchRequest, ranking: Ranking) -> Sequence[Place]:
    return ranking.places[request.offset : request.offset + request.top_k]


def _vectors(
    question: Question, ids: Sequence[int], snapshot: Snapshot
) -> dict[int, Representation]:
    rows = question.collection.rows(ids, tenant=question.request.tenant, snapshot=snapshot)
    return rows.by_row()


def _expired() -> PageExpired:
    return PageExpired(
        "the collection has changed, and what this page is of is kept no longer: "
        "search again from the first page"
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
