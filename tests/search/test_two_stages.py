"""Two stages: what each reads, and that both are of one snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from m3.types import Codec, DocumentKey
from search.request import SearchRequest
from search.response import SearchResponse, Staged
from search.service import SearchService
from store.candidates import Candidates
from store.memory import MemoryCollection
from tests.search.library import (
    COLLECTION,
    KnownQueries,
    books,
    example,
    library,
    passages_of,
    shelf,
)

WHOLE = SearchRequest(query="q", collection=COLLECTION, top_k=5)
STAGED = replace(WHOLE, rerank_depth=7)


def ask(service: SearchService, request: SearchRequest) -> SearchResponse:
    return asyncio.run(service.search(request))


@pytest.fixture
def service() -> SearchService:
    client: Any = KnownQueries({"q": example(1, Codec.FP32)})
    return SearchService(library(passages_of(30)), client)


def test_the_chosen_rows_alone_are_read_whole(
    service: SearchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, chosen = list[bool](), list[Sequence[int]]()
    candidates, rows = MemoryCollection.candidates, MemoryCollection.rows

    def noted(self: MemoryCollection, *args: Any, **options: Any) -> Candidates:
        whole.append(options["codes"])
        return candidates(self, *args, **options)

    def read(self: MemoryCollection, ids: Sequence[int], **options: Any) -> Any:
        chosen.append(ids)
        return rows(self, ids, **options)

    monkeypatch.setattr(MemoryCollection, "candidates", noted)
    monkeypatch.setattr(MemoryCollection, "rows", read)
    look = asyncio.run(service.look(STAGED))
    assert whole == [False]
    assert [len(ids) for ids in chosen] == [7]
    assert {chunk.row for chunk in look.candidates.rows.chunks} == set(chosen[0])
    assert look.candidates.staged == Staged(found=30, reranked=7)
    assert ask(service, WHOLE).staged is None
    assert (whole, len(chosen)) == ([False, True], 1)


def test_hits_are_explained_as_without_stages(service: SearchService) -> None:
    every = ask(service, replace(WHOLE, top_k=30, explain=True)).hits
    expected = {hit.id: hit.explain for hit in every}
    for hit in ask(service, replace(STAGED, explain=True)).hits:
        assert hit.explain is not None
        assert hit.explain.alignment
        assert hit.explain == expected[hit.id]


@pytest.mark.parametrize("times", [1, 2])
def test_what_was_read_first_may_be_gone(
    times: int, service: SearchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that is overtaken between its stages is begun anew, of what there is then."""
    left, candidates = [*range(times)], MemoryCollection.candidates

    def overtaken(self: MemoryCollection, *args: Any, **options: Any) -> Candidates:
        found = candidates(self, *args, **options)
        if left:
            self.replace(books({f"new-{left.pop()}": [example(1)]}))
            self.purge()
        return found

    monkeypatch.setattr(MemoryCollection, "candidates", overtaken)
    response = ask(service, replace(STAGED, top_k=7))
    assert response.staged == Staged(found=30 + times, reranked=7)
    assert {f"new-{i}" for i in range(times)} <= {hit.document_id for hit in response.hits}


def test_the_document_that_is_the_query_takes_no_place() -> None:
    client: Any = KnownQueries({})
    chapters = {
        "b0": [example(i) for i in range(5)],
        **{f"b{i}": [example(i)] for i in range(1, 9)},
    }
    service = SearchService(shelf(chapters), client)
    like = SearchRequest(DocumentKey("default", "default", "b0"), COLLECTION, top_k=4)
    response = ask(service, replace(like, rerank_depth=4))
    assert response.staged == Staged(found=8, reranked=4)
    assert len(response.hits) == 4
    assert "b0" not in {hit.document_id for hit in response.hits}
