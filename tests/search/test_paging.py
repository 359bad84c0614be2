"""Pages of one search: they fit together, whatever becomes of the collection meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3.errors import InvalidInput, PageExpired, SnapshotGone
from m3.types import Codec, DocumentKey
from search.bodies import search_request
from search.paging import Page
from search.request import SearchRequest
from search.response import SearchResponse
from search.service import SearchService
from store.memory import MemoryCollection
from tests.search.library import (
    COLLECTION,
    KnownQueries,
    books,
    example,
    shelf,
    spec,
)

BODY = {"query": "q", "collection": COLLECTION, "candidates": 60}


def chapters(count: int = 12):
    return {f"b{i:02}": [example(10 * i + j) for j in range(1 + i % 4)] for i in range(count)}


@pytest.fixture
def service() -> SearchService:
    return SearchService(shelf(chapters()), KnownQueries({"q": example(1, Codec.FP32)}))


def ask(service: SearchService, **fields) -> SearchResponse:
    return asyncio.run(service.search(search_request({**BODY, **fields})))


def ids(response: SearchResponse) -> list[str]:
    return [hit.id for hit in response.hits]


def change(service: SearchService) -> None:
    """Every document has another text, and one is gone."""
    collection = service.collections.open(COLLECTION)
    collection.replace(books({"b00": [example(500)], "b99": [example(501)] * 3}))
    collection.delete([DocumentKey("default", "default", f"b{i:02}") for i in range(1, 12)])


@given(st.lists(st.integers(1, 12), min_size=40, max_size=40), st.booleans())
@settings(max_examples=25)
def test_pages_by_token_are_the_whole_in_order(sizes: list[int], grouped: bool) -> None:
    service = SearchService(shelf(chapters()), KnownQueries({"q": example(1, Codec.FP32)}))
    options = {"group_by": "document"} if grouped else {}
    whole = ids(ask(service, top_k=60, **options))
    found: list[str] = []
    page = None
    for size in sizes:
        answer = ask(service, top_k=size, page=page, **options)
        found += ids(answer)
        page = answer.page
        if page is None:
            break
    assert found == whole


@pytest.mark.parametrize("explain", [False, True])
def test_pages_are_of_the_first_ones_snapshot(service, explain) -> None:
    before = ask(service, top_k=60, explain=explain)
    first = ask(service, top_k=5, explain=explain)
    change(service)
    second = ask(service, top_k=25, page=first.page, explain=explain)
    assert first.hits + list(second.hits) == before.hits
    assert ids(ask(service, top_k=60)) != ids(before)
    again = ask(service, top_k=5, page=first.page, offset=0, explain=explain)
    assert again.hits == first.hits


def test_a_page_that_is_kept_no_longer_is_found_again_or_refused(service, monkeypatch) -> None:
    monkeypatch.setattr("search.paging._SECONDS", 0.0)
    whole = ask(service, top_k=60)
    first = ask(service, top_k=5)
    second = ask(service, top_k=5, page=first.page)
    assert ids(first) + ids(second) == ids(whole)[:10]
    change(service)
    with pytest.raises(PageExpired, match="search again from the first page") as refused:
        ask(service, top_k=5, page=second.page)
    assert (refused.value.status, refused.value.code) == (410, "page_expired")


def test_reading_on_keeps_an_old_snapshot_no_longer(service, monkeypatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("search.paging.time", SimpleNamespace(monotonic=lambda: now[0]))
    page = ask(service, top_k=2).page
    change(service)
    for _ in range(3):
        now[0] += 99.0
        page = ask(service, top_k=2, page=page).page
    now[0] += 99.0
    with pytest.raises(PageExpired):
        ask(service, top_k=2, page=page)


def test_what_is_kept_has_bounded_memory(service, monkeypatch) -> None:
    monkeypatch.setattr("search.paging._MAX_BYTES", 800 * 35)
    first = [ask(service, top_k=5, min_score=least) for least in (-1.0, -2.0)]
    change(service)
    assert ask(service, page=first[1].page, min_score=-2.0).hits
    with pytest.raises(PageExpired):
        ask(service, page=first[0].page, min_score=-1.0)


def test_the_document_that_is_the_query_counts_too(service, monkeypatch) -> None:
    """There is room for two rankings of 30 chunks, without their document."""
    monkeypatch.setattr("search.paging._MAX_BYTES", 800 * 60)
    like = SearchRequest(DocumentKey("default", "default", "b00"), COLLECTION, top_k=5)
    requests = [replace(like, min_score=least) for least in (-1.0, -2.0)]
    first = [asyncio.run(service.search(request)) for request in requests]
    pages = [
        replace(request, page=Page.read(answer.page), offset=5)
        for request, answer in zip(requests, first, strict=True)
    ]
    change(service)
    assert asyncio.run(service.search(pages[1])).hits
    with pytest.raises(PageExpired):
        asyncio.run(service.search(pages[0]))


def test_a_purge_ends_pages(service) -> None:
    first = ask(service, top_k=5)
    change(service)
    service.collections.open(COLLECTION).purge()
    with pytest.raises(PageExpired):
        ask(service, top_k=5, page=first.page)


def test_a_collection_made_anew_has_no_pages_of_the_old(service) -> None:
    first = ask(service, top_k=5)
    service.collections.drop(COLLECTION)
    service.collections.create(COLLECTION, spec()).replace(books(chapters()))
    with pytest.raises(PageExpired):
        ask(service, top_k=5, page=first.page)


@pytest.mark.parametrize(
    "other",
    [
        {"query": "other"},
        {"collection": "elsewhere"},
        {"method": "dense"},
        {"weights": "mldr"},
        {"rank": "rrf"},
        {"candidates": 61},
        {"rerank_depth": 50},
        {"filter": {"field": "shelf", "op": "eq", "value": 1}},
        {"must": ["chapter"]},
        {"must_not": ["nowhere"]},
        {"min_score": -1},
        {"group_by": "document"},
    ],
)
def test_a_page_of_another_search_is_refused(service, other) -> None:
    page = ask(service, top_k=5).page
    with pytest.raises(InvalidInput, match="page is of another search"):
        ask(service, page=page, **other)


def test_a_page_of_another_tenant_is_refused(service) -> None:
    token = ask(service, top_k=5).page
    assert token is not None
    request = SearchRequest(query="q", collection=COLLECTION, candidates=60, tenant="one")
    with pytest.raises(InvalidInput, match="page is of another search"):
        replace(request, page=Page.read(token), offset=5)


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda raw: raw.hex()))
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidInput, match="page: send that of the answer before"):
        Page.read(token)


@given(st.binary(min_size=12, max_size=12), st.integers(2, 1000), st.data())
def test_tokens_are_read_as_they_were_written(digest, depth, data) -> None:
    page = Page(
        digest,
        digest[::-1],
        depth,
        data.draw(st.integers(0, 2000)),
        data.draw(st.integers(1, depth - 1)),
    )
    assert Page.read(page.token()) == page


def test_pages_keep_their_depth(service) -> None:
    body = {"query": "q", "collection": COLLECTION}
    first = asyncio.run(service.search(search_request({**body, "top_k": 2})))
    request = search_request({**body, "top_k": 7, "page": first.page})
    assert (request.depth, request.offset, request.top_k) == (100, 2, 7)
    deep = search_request({**body, "top_k": 500, "page": first.page})
    assert (deep.depth, deep.offset, deep.top_k) == (100, 2, 98)


def test_neighbours_are_under_the_hit_and_of_its_snapshot(service) -> None:
    first = ask(service, top_k=3, neighbours=1)
    second = ask(service, top_k=60, neighbours=2)
    assert all(hit.neighbours is not None for hit in first.hits)
    for hit in second.hits:
        size = 1 + int(hit.document_id[1:]) % 4
        expected = [
            f"chapter {i} of {hit.document_id}"
            for i in range(size)
            if i != hit.position and abs(i - hit.position) <= 2
        ]
        assert [near.text for near in hit.neighbours or []] == expected
    change(service)
    later = ask(service, top_k=60, neighbours=2, page=first.page)
    assert later.hits == second.hits[3:]
    assert ask(service, top_k=1).hits[0].neighbours is None


@pytest.mark.parametrize("gone", [1, 2])
def test_a_first_page_looks_again_where_its_snapshot_is_gone(
    service: SearchService, monkeypatch: pytest.MonkeyPatch, gone: int
) -> None:
    expected, chunks = ids(ask(service)), MemoryCollection.chunks
    left = iter([True] * gone)

    def fleeting(self: MemoryCollection, *args: Any, **options: Any) -> Any:
        if next(left, False):
            raise SnapshotGone("it has gone on")
        return chunks(self, *args, **options)

    monkeypatch.setattr(MemoryCollection, "chunks", fleeting)
    assert ids(ask(service)) == expected
    assert next(left, None) is None


def test_a_collection_that_goes_on_all_the_time_is_no_endless_search(
    service: SearchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise SnapshotGone("it has gone on")

    monkeypatch.setattr(MemoryCollection, "chunks", gone)
    with pytest.raises(PageExpired):
        ask(service)
