"""A collection's own weights and depth: searches that give none use them, and no others do."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from m3.errors import InvalidInput, PageExpired
from m3.types import Codec
from scoring.fusion import METHOD_WEIGHTS, Method, Weights
from search.bodies import search_request
from search.paging import Page
from search.ranking import Rank
from search.request import SearchRequest
from search.response import SearchResponse, Staged
from search.service import SearchService
from store.memory import MemoryStore
from store.reports import Defaults
from tests.search.library import COLLECTION, KnownQueries, example, library, passages_of, spec

TUNED = Weights(0.1, 0.8, 0.1)
REQUEST = SearchRequest("q", COLLECTION)


@pytest.fixture
def store() -> MemoryStore:
    return library(passages_of(40))


@pytest.fixture
def service(store: MemoryStore) -> SearchService:
    return SearchService(store, KnownQueries({"q": example(1, Codec.FP32)}))


def ask(service: SearchService, request: SearchRequest) -> SearchResponse:
    return asyncio.run(service.search(request))


def weights_shown(response: SearchResponse) -> tuple[float | None, ...]:
    found = response.hits[0].explain
    assert found is not None
    assert found.weights is not None
    return (found.weights.dense, found.weights.sparse, found.weights.colbert)


def test_searches_without_weights_use_those_that_are_saved(
    store: MemoryStore, service: SearchService
) -> None:
    given = ask(service, replace(REQUEST, weights=TUNED)).hits
    before = ask(service, REQUEST).hits
    store.open(COLLECTION).save_defaults(Defaults({Method.FUSION: TUNED}), spec())
    assert ask(service, REQUEST).hits == given != before
    explained = ask(service, replace(REQUEST, explain=True))
    assert weights_shown(explained) == pytest.approx(TUNED.normalised())


@pytest.mark.parametrize(
    "request_",
    [
        replace(REQUEST, method=Method.DENSE_SPARSE),
        replace(REQUEST, method=Method.COLBERT),
        replace(REQUEST, rank=Rank.RRF),
        replace(REQUEST, weights=METHOD_WEIGHTS[Method.FUSION]),
    ],
)
def test_no_other_search_does(
    store: MemoryStore, service: SearchService, request_: SearchRequest
) -> None:
    before = ask(service, request_).hits
    store.open(COLLECTION).save_defaults(Defaults({Method.FUSION: TUNED}), spec())
    assert ask(service, request_).hits == before


def test_weights_of_another_model_are_not_used(store: MemoryStore, service: SearchService) -> None:
    before = ask(service, REQUEST).hits
    other = replace(spec(), fingerprint="beef")
    store.open(COLLECTION).save_defaults(Defaults({Method.FUSION: TUNED}), other)
    assert ask(service, REQUEST).hits == before


def test_pages_keep_the_weights_of_the_first(store: MemoryStore, service: SearchService) -> None:
    whole = ask(service, replace(REQUEST, top_k=20)).hits
    first = ask(service, REQUEST)
    assert first.page is not None
    next_ = replace(REQUEST, page=Page.read(first.page), offset=10)
    store.open(COLLECTION).save_defaults(Defaults({Method.FUSION: TUNED}), spec())
    assert ask(service, next_).hits == whole[10:]
    explained = ask(service, replace(next_, explain=True))
    assert weights_shown(explained) == pytest.approx(METHOD_WEIGHTS[Method.FUSION].normalised())
    # Where the ranking is kept no longer, a page by other weights would not fit to it.
    fresh = SearchService(store, KnownQueries({"q": example(1, Codec.FP32)}))
    with pytest.raises(PageExpired):
        ask(fresh, next_)


def test_searches_without_a_depth_use_the_one_that_is_saved(
    store: MemoryStore, service: SearchService
) -> None:
    whole, given = ask(service, REQUEST), ask(service, replace(REQUEST, rerank_depth=12))
    store.open(COLLECTION).save_defaults(Defaults(rerank_depth=12), spec())
    found = ask(service, REQUEST)
    assert found.hits == given.hits
    assert found.staged == given.staged == Staged(found=40, reranked=12)
    for own in (replace(REQUEST, rerank_depth=0), replace(REQUEST, rank=Rank.RRF)):
        assert ask(service, own).staged is None
    assert ask(service, replace(REQUEST, rerank_depth=0)).hits == whole.hits
    dense = replace(REQUEST, method=Method.DENSE_SPARSE)
    assert ask(service, dense).staged is None
    by_all = replace(dense, weights=Weights(1, 1, 1))
    assert ask(service, by_all).staged == found.staged
    # As many hits as are asked for are ranked.
    assert ask(service, replace(REQUEST, top_k=20)).staged == Staged(found=40, reranked=20)


@pytest.mark.parametrize("top_k", [3, 12, 20])
def test_pages_by_offset_are_of_one_ranking(
    store: MemoryStore, service: SearchService, top_k: int
) -> None:
    store.open(COLLECTION).save_defaults(Defaults(rerank_depth=12), spec())
    ranked = max(12, top_k)
    whole = ask(service, replace(REQUEST, rerank_depth=ranked, top_k=ranked)).hits
    pages = [
        ask(service, replace(REQUEST, top_k=top_k, offset=offset)).hits
        for offset in range(0, ranked, top_k)
    ]
    assert [hit for page in pages for hit in page] == list(whole)
    beyond = replace(REQUEST, top_k=top_k, offset=ranked)
    with pytest.raises(InvalidInput, match=f"only {ranked} candidates are ranked"):
        ask(service, beyond)
    assert len(ask(service, replace(beyond, rerank_depth=0)).hits) == top_k


def test_a_depth_goes_by_the_weights_that_are_saved(
    store: MemoryStore, service: SearchService
) -> None:
    without = Defaults({Method.FUSION: Weights(1, 1, 0)}, rerank_depth=12)
    store.open(COLLECTION).save_defaults(without, spec())
    assert ask(service, REQUEST).staged is None


@pytest.mark.parametrize("kept", [True, False])
def test_pages_keep_the_depth_of_the_first(
    store: MemoryStore, service: SearchService, *, kept: bool
) -> None:
    store.open(COLLECTION).save_defaults(Defaults(rerank_depth=25), spec())
    whole = ask(service, replace(REQUEST, rerank_depth=25, top_k=25)).hits
    first = ask(service, REQUEST)
    store.open(COLLECTION).save_defaults(Defaults(rerank_depth=13), spec())
    # The ranking of the same search as it is now takes no other's place.
    assert ask(service, REQUEST).staged == Staged(found=40, reranked=13)
    if not kept:
        service = SearchService(store, KnownQueries({"q": example(1, Codec.FP32)}))
    hits, page = [*first.hits], first.page
    while page is not None:
        body = {"query": "q", "collection": COLLECTION, "page": page}
        answer = ask(service, search_request(body))
        assert answer.staged == Staged(found=40, reranked=25)
        hits += answer.hits
        page = answer.page
    assert hits == whole
