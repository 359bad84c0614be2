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
            # One method after the other: the query is embedded for the first and kept.
            for method in methods:
                rankings[method][id_] = await _ranking(service, id_, text, collection, method)
            progress(1)

    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    return rankings


async def _ranking(
    service: SearchService, id_: str, text: str, collection: str, method: Method
) -> Sequence[str]:
    """Documents, each at the place of its best passage."""
    try:
        request = SearchRequest(text, collection, method, top_k=CANDIDATES, candidates=CANDIDATES)
        hits = (await service.search(request)).hits
    except InvalidInput as error:
        raise InvalidInput(f"query {id_!r}: {error}") from error
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
