"""Queries of a judged collection through the search service, and what the rankings are worth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evaluation.beir import TestCollection
from evaluation.metrics import measure
from m3.errors import InvalidInput
from scoring.fusion import Method
from search.request import SearchRequest
from search.response import Hit
from search.service import SearchService

CANDIDATES = 200
"""Of each leg; as deep as BGE-M3's authors rerank."""
_AT_ONCE = 2
"""Queries under way: a node and the store have one to work on while the other waits."""

Progress = Callable[[int], None]
"""Told how many more queries are done."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Metrics by method, over the judged queries of one collection."""

    dataset: str
    documents: int
    queries: int
    results: Mapping[str, Mapping[str, float]]


async def search_all(
    service: SearchService,
    judged: TestCollection,
    collection: str,
    methods: Sequence[Method],
    progress: Progress,
) -> Mapping[Method, Mapping[str, Sequence[str]]]:
    """Rankings of documents, by method and query.

    Raises:
        InvalidInput: a query that cannot be searched for; the message names it.
    """
    rankings: dict[Method, dict[str, Sequence[str]]] = {method: {} for method in methods}
    waiting = iter(judged.queries.items())

    async def work() -> None:
        for id_, text in waiting:
            request = SearchRequest(text, collection, top_k=CANDIDATES, candidates=CANDIDATES)
            try:
                found = await service.search_by(request, methods)
            except InvalidInput as error:
                raise InvalidInput(f"query {id_!r}: {error}") from error
            for method, hits in found.items():
                rankings[method][id_] = _documents(hits)
            progress(1)

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    return rankings


def _documents(hits: Sequence[Hit]) -> Sequence[str]:
    """Documents, each at the place of its best passage."""
    return list(dict.fromkeys(hit.document_id for hit in hits))


def quality(
    judged: TestCollection, documents: int, rankings: Mapping[Method, Mapping[str, Sequence[str]]]
) -> Quality:
    """What the rankings are worth by the collection's judgments."""
    return Quality(
        dataset=judged.name,
        documents=documents,
        queries=len(judged.queries),
        results={
            method.value: measure(judged.qrels, ranking) for method, ranking in rankings.items()
        },
    )
