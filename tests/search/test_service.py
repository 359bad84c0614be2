"""The service against brute force from the definition, over a store that looks at every row."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3.errors import EmbedderUnreachable, InvalidInput, MilvusUnreachable, NotFound
from m3.types import Codec, Representation
from scoring import definition
from scoring.fusion import METHOD_WEIGHTS, Method, Weights
from search.bodies import search_request
from search.ranking import Rank
from search.request import SearchRequest
from search.rerank import Stage, score
from search.response import Hit, SearchResponse, Staged, as_json
from search.service import SearchService
from store.candidates import Leg
from tests.search.library import (
    COLLECTION,
    KnownQueries,
    example,
    libraries,
    library,
    passages_of,
)

weights = (
    st.builds(Weights, *[st.floats(0.1, 2)] * 2, colbert=st.sampled_from((0.0, 0.5, 1.0)))
    | st.none()
)
REQUEST = SearchRequest(query="q", collection=COLLECTION)


def ask(service: SearchService, request: SearchRequest) -> SearchResponse:
    return asyncio.run(service.search(request))


def oracle(
    query: Representation, passages: dict[str, Representation], request: SearchRequest
) -> list[tuple[str, float, tuple[float, float, float]]]:
    """Ids, fused and raw scores in order, by definition and in the plainest way."""
    raw = {id_: definition.scores(query, passage) for id_, passage in passages.items()}
    legs = {
        "dense": sorted(raw, key=lambda id_: -raw[id_][0]),
        "sparse": sorted((id_ for id_ in raw if raw[id_][1] > 0), key=lambda id_: -raw[id_][1]),
    }
    found = {id_ for leg in request.legs for id_ in legs[leg][: request.depth]}
    chosen = (request.weights or METHOD_WEIGHTS[request.method]).as_tuple()
    fused = {id_: definition.fused_score(raw[id_], chosen) for id_ in found}
    order = sorted(found, key=lambda id_: (-fused[id_], id_))
    return [(id_, fused[id_], raw[id_]) for id_ in order]


def facts(hit: Hit) -> tuple[str, float, tuple[float, float, float]]:
    return hit.document_id, hit.score, astuple(hit.scores)


@given(libraries(), st.sampled_from(Method), weights, st.integers(3, 16))
@settings(max_examples=150)
def test_hits_are_brute_force(world, method: Method, chosen: Weights | None, depth: int) -> None:
    query, passages, codec = world
    request = replace(
        REQUEST, method=method, weights=chosen, candidates=depth, top_k=min(depth, 10)
    )
    service = SearchService(library(passages, codec), KnownQueries({"q": query}))
    hits = ask(service, request).hits
    expected = oracle(query, passages, request)[: request.top_k]
    assert [hit.document_id for hit in hits] == [id_ for id_, _, _ in expected]
    for hit, (_, fused, raw) in zip(hits, expected, strict=True):
        assert hit.score == pytest.approx(fused, abs=2e-6)
        assert astuple(hit.scores) == pytest.approx(raw, abs=2e-6)


RANKED_BY_COLBERT = st.sampled_from((Method.FUSION, Method.COLBERT))


@given(libraries(), RANKED_BY_COLBERT, weights, st.integers(1, 16))
@settings(max_examples=100)
def test_two_stages_are_brute_force(
    world, method: Method, chosen: Weights | None, depth: int
) -> None:
    """Of the best by dense and sparse alone the best by all; the others are no hits."""
    query, passages, codec = world
    if chosen is not None and not chosen.colbert:
        chosen = None
    request = replace(REQUEST, method=method, weights=chosen, top_k=1, rerank_depth=depth)
    dense, sparse, _ = (chosen or METHOD_WEIGHTS[method]).as_tuple()
    first = Weights(dense, sparse, 0) if dense + sparse else METHOD_WEIGHTS[Method.DENSE_SPARSE]
    best = oracle(query, passages, replace(REQUEST, weights=first))[:depth]
    left = {id_: passages[id_] for id_, _, _ in best}
    expected = oracle(query, left, replace(request, rerank_depth=None))
    service = SearchService(library(passages, codec), KnownQueries({"q": query}))
    response = ask(service, replace(request, top_k=min(depth, 20)))
    assert [hit.document_id for hit in response.hits] == [id_ for id_, _, _ in expected]
    for hit, (_, fused, raw) in zip(response.hits, expected, strict=True):
        assert hit.score == pytest.approx(fused, abs=2e-6)
        assert astuple(hit.scores) == pytest.approx(raw, abs=2e-6)
    assert response.staged == Staged(found=len(passages), reranked=len(left))
    assert as_json(response)["staged"] == {"found": len(passages), "reranked": len(left)}


def test_pages_of_two_stages_end_with_what_is_ranked(service: SearchService) -> None:
    body = {"query": "q", "collection": COLLECTION, "rerank_depth": 25}
    whole = ask(service, search_request({**body, "top_k": 25}))
    assert whole.page is None
    pages = [ask(service, search_request(body))]
    while pages[-1].page:
        pages.append(ask(service, search_request({**body, "page": pages[-1].page})))
    assert [facts(hit) for page in pages for hit in page.hits] == [*map(facts, whole.hits)]
    assert [len(page.hits) for page in pages] == [10, 10, 5]
    assert {page.staged for page in pages} == {Staged(found=30, reranked=25)}
    assert ask(service, REQUEST).staged is None


def test_two_stages_go_without_a_part_as_any_search_does(query: Representation) -> None:
    collection = library(passages_of(30)).open(COLLECTION)
    legs: Sequence[Leg] = ("dense",)
    found = collection.candidates(query, legs=legs, depth=30, tenant="default")
    weights, failed = METHOD_WEIGHTS[Method.FUSION], {"sparse": MilvusUnreachable("it is gone")}
    chosen, staged = Stage(10, weights).chosen(query, found.rows, found.legs, failed)
    assert staged == Staged(found=30, reranked=10)
    scored = score(query, found.rows, chosen, failed, ends=0.0, staged=staged)
    assert scored.degraded == ("sparse", "colbert")
    ranking = scored.ranking(replace(REQUEST, rerank_depth=10), weights)
    assert [place.row for place in ranking] == list(found.legs["dense"][:10])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rerank_depth": -1}, "rerank_depth must be from 0 to 2000, got -1"),
        ({"rerank_depth": 2_001}, "rerank_depth must be from 0 to 2000, got 2001"),
        ({"rerank_depth": 9}, r"only 9 candidates are ranked: set rerank_depth higher"),
        ({"rerank_depth": 50, "method": Method.DENSE_SPARSE}, "that ColBERT scores rank"),
        ({"rerank_depth": 50, "rank": Rank.RRF}, "that ColBERT scores rank"),
        ({"rerank_depth": 50, "weights": Weights(1, 1, 0)}, "that ColBERT scores rank"),
    ],
)
def test_a_depth_of_reranking_that_says_nothing_is_refused(fields, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        replace(REQUEST, **fields)


@given(libraries(), st.sampled_from(Method), st.integers(1, 5))
@settings(max_examples=60)
def test_pages_are_slices_of_one_order(world, method: Method, size: int) -> None:
    query, passages, codec = world
    service = SearchService(library(passages, codec), KnownQueries({"q": query}))
    request = replace(REQUEST, method=method, top_k=20)
    whole = [facts(hit) for hit in ask(service, request).hits]
    pages = [
        ask(service, replace(request, top_k=size, offset=offset)).hits
        for offset in range(0, 20, size)
    ]
    assert [facts(hit) for page in pages for hit in page][: len(whole)] == whole


@pytest.fixture
def query() -> Representation:
    return example(1, Codec.FP32)


@pytest.fixture
def client(query: Representation) -> KnownQueries:
    return KnownQueries({"q": query, "other": query})


@pytest.fixture
def service(client: KnownQueries) -> SearchService:
    return SearchService(library(passages_of(30)), client)


def test_a_hit_says_where_it_is_from(service: SearchService) -> None:
    hit = ask(service, REQUEST).hits[0]
    assert hit.id == f"default/{hit.document_id}#0"
    assert hit.title == f"title of {hit.document_id}"
    assert hit.text == f"text of {hit.document_id}"
    assert set(hit.metadata) == {"shelf", "no"}
    assert hit.explain is None


def test_timings_add_up(service: SearchService) -> None:
    timings = ask(service, REQUEST).timings_ms
    assert min(astuple(timings)) > 0
    assert timings.embed + timings.retrieve + timings.rerank <= timings.total


def test_the_json_is_the_contracts(service: SearchService) -> None:
    body = as_json(ask(service, replace(REQUEST, top_k=1)))
    assert list(body) == ["hits", "timings_ms", "degraded", "page"]
    assert list(body["timings_ms"]) == ["embed", "retrieve", "rerank", "total"]
    assert {"id", "document_id", "score", "scores", "title", "text", "metadata"} <= set(
        body["hits"][0]
    )
    assert "explain" not in body["hits"][0]
    assert list(body["hits"][0]["scores"]) == ["dense", "sparse", "colbert"]
    assert body["degraded"] == []


def test_a_query_is_embedded_once(service: SearchService, client: KnownQueries) -> None:
    for method in Method:
        ask(service, replace(REQUEST, method=method))
    ask(service, replace(REQUEST, query="other"))
    assert client.encoded == ["q", "other"]


def test_a_tenants_queries_are_kept_for_it_alone(
    service: SearchService, client: KnownQueries
) -> None:
    for tenant in ("one", "two", "one"):
        ask(service, replace(REQUEST, tenant=tenant))
    assert client.encoded == ["q", "q"]


def test_kept_queries_have_bounded_memory(
    service: SearchService, client: KnownQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.embed._CACHE_BYTES", 1)
    for _ in range(2):
        ask(service, REQUEST)
    assert client.encoded == ["q", "q"]


def test_explanations_add_up_to_the_score(service: SearchService) -> None:
    for hit in ask(service, replace(REQUEST, explain=True)).hits:
        assert hit.explain is not None
        assert sum(astuple(hit.explain.contributions)) == pytest.approx(hit.score)
        terms = hit.explain.terms
        assert [term.term for term in terms] == ["word1", "word5"]
        assert sum(term.product for term in terms) == pytest.approx(hit.scores.sparse)


def test_filters_hold_and_are_checked(service: SearchService) -> None:
    chosen = {"field": "shelf", "op": "eq", "value": 1}
    hits = ask(service, replace(REQUEST, filter=chosen)).hits
    assert len(hits) == 10
    assert {hit.metadata["shelf"] for hit in hits} == {1}
    with pytest.raises(InvalidInput, match="not declared"):
        ask(service, replace(REQUEST, filter={"field": "no", "op": "eq", "value": 1}))


def test_words_hold(service: SearchService) -> None:
    request = replace(REQUEST, must=("TITLE of", "d007"))
    assert [hit.document_id for hit in ask(service, request).hits] == ["d007"]
    request = replace(REQUEST, must=("text",), must_not=("d007", "of d008"), top_k=30)
    found = {hit.document_id for hit in ask(service, request).hits}
    assert found == passages_of(30).keys() - {"d007", "d008"}


def test_a_query_without_sparse_terms_works(query: Representation) -> None:
    none = replace(query, sparse_ids=query.sparse_ids[:0], sparse_weights=query.sparse_weights[:0])
    service = SearchService(library(passages_of(5)), KnownQueries({"q": none}))
    hits = ask(service, REQUEST).hits
    assert len(hits) == 5
    assert {hit.scores.sparse for hit in hits} == {0}
    assert ask(service, replace(REQUEST, method=Method.SPARSE)).hits == []


def test_an_empty_collection_has_no_hits(client: KnownQueries) -> None:
    assert ask(SearchService(library({}), client), REQUEST).hits == []


def test_other_tenants_see_nothing(service: SearchService) -> None:
    assert ask(service, replace(REQUEST, tenant="someone")).hits == []


def test_a_dropped_collection_is_gone_and_may_come_back(service: SearchService) -> None:
    assert ask(service, REQUEST).hits
    service.collections.drop(COLLECTION)
    with pytest.raises(NotFound, match=COLLECTION):
        ask(service, REQUEST)
    service.collections.create(COLLECTION, library({}).open(COLLECTION).spec)
    assert ask(service, REQUEST).hits == []


def test_a_query_the_model_cannot_read_whole_is_refused(client: KnownQueries) -> None:
    client.truncated = True
    with pytest.raises(InvalidInput, match="shorten"):
        ask(SearchService(library(passages_of(3)), client), REQUEST)


def test_errors_of_the_node_reach_the_caller(client: KnownQueries) -> None:
    client.down = True
    with pytest.raises(EmbedderUnreachable):
        ask(SearchService(library(passages_of(3)), client), REQUEST)


def test_searches_at_once_do_not_mix(query: Representation) -> None:
    passages = passages_of(30)
    queries = {
        f"q{i}": replace(query, dense=passage.dense.astype(np.float32))
        for i, passage in enumerate(passages.values())
    }
    service = SearchService(library(passages), KnownQueries(queries))

    async def all_of_them() -> list[SearchResponse]:
        requests = [replace(REQUEST, query=name, method=Method.DENSE, top_k=1) for name in queries]
        return await asyncio.gather(*map(service.search, requests))

    answers = asyncio.run(all_of_them())
    assert [answer.hits[0].document_id for answer in answers] == list(passages)
