"""The service against brute force from the definition, over a store that looks at every row."""

from __future__ import annotations

import asyncio
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3.errors import EmbedderUnreachable, InvalidInput, NotFound
from m3.types import Codec, Representation
from scoring import definition
from scoring.fusion import METHOD_WEIGHTS, Method, Weights
from search.request import SearchRequest
from search.response import Hit, SearchResponse, as_json
from search.service import SearchService
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
@settings(max_examples=150, deadline=None)
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


@given(libraries(), st.sampled_from(Method), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
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
