"""A stored document as a query: by its own vectors, exactly, and without itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3.errors import NotFound
from m3.types import DocumentKey, Representation
from scoring import definition
from scoring.fusion import Method
from search.paging import Page
from search.request import SearchRequest
from search.response import SearchResponse
from search.service import SearchService
from search.similar import MOST_TOKENS, likeness
from tests.m3.strategies import codecs, representations
from tests.search.library import (
    COLLECTION,
    DIMENSION,
    KnownQueries,
    books,
    example,
    library,
    shelf,
)

KEY = DocumentKey("default", "default", "b0")


def ask(service: SearchService, key: DocumentKey = KEY, **fields) -> SearchResponse:
    request = SearchRequest(query=key, collection=COLLECTION, tenant=key.tenant)
    return asyncio.run(service.search(replace(request, **fields)))


@st.composite
def shelves(draw: st.DrawFn):
    codec = draw(codecs)
    chapters = st.lists(representations(DIMENSION, codec, max_tokens=9), min_size=1, max_size=3)
    return {f"b{i}": draw(chapters) for i in range(draw(st.integers(1, 6)))}, codec


def together(passages: list[Representation]) -> tuple[np.ndarray, dict[int, float]]:
    """Mean dense, normalised, and mean sparse weights."""
    dense = sum(passage.dense.astype(np.float64) for passage in passages)
    terms: dict[int, float] = {}
    for passage in passages:
        for id_, weight in zip(passage.sparse_ids, passage.sparse_weights, strict=True):
            terms[int(id_)] = terms.get(int(id_), 0.0) + float(weight) / len(passages)
    return dense / np.linalg.norm(dense), terms


@given(shelves(), st.sampled_from(Method))
@settings(max_examples=80)
def test_scores_are_exact_and_the_document_is_left_out(world, method: Method) -> None:
    chapters, codec = world
    service = SearchService(shelf(chapters, codec), KnownQueries({}))
    dense, terms = together(chapters["b0"])
    hits = ask(service, method=method, top_k=100).hits
    others = {
        f"default/{id_}#{i}": passage
        for id_, passages in chapters.items()
        for i, passage in enumerate(passages)
        if id_ != "b0"
    }
    if method is not Method.SPARSE:
        assert {hit.id for hit in hits} == others.keys()
    query = likeness(service.collections.open(COLLECTION), KEY).query
    for hit in hits:
        passage = others[hit.id]
        sparse = sum(
            terms.get(int(id_), 0.0) * float(weight)
            for id_, weight in zip(passage.sparse_ids, passage.sparse_weights, strict=True)
        )
        assert hit.scores.dense == pytest.approx(float(dense @ passage.dense), abs=2e-3)
        assert hit.scores.sparse == pytest.approx(sparse, abs=1e-4)
        assert astuple(hit.scores) == pytest.approx(definition.scores(query, passage), abs=2e-6)


def test_depth_is_met_beside_the_documents_own_chunks() -> None:
    """All chunks of the document are better than any other's."""
    own = [example(1)] * 30
    chapters = {"b0": own, **{f"b{i}": [example(100 + i)] for i in range(1, 40)}}
    service = SearchService(shelf(chapters), KnownQueries({}))
    hits = ask(service, top_k=20, candidates=20).hits
    assert len(hits) == 20
    assert "b0" not in {hit.document_id for hit in hits}


def test_a_long_document_is_spread_evenly() -> None:
    chapters = {"b0": [example(i) for i in range(400)], "b1": [example(1)]}
    service = SearchService(shelf(chapters), KnownQueries({}))
    query = likeness(service.collections.open(COLLECTION), KEY).query
    assert len(query.codes) == len(query.token_ids) == MOST_TOKENS
    assert [hit.document_id for hit in ask(service).hits] == ["b1"]


def test_the_tokens_of_a_pooled_document_count_one_by_one() -> None:
    pooled = replace(example(1), codes=example(1).codes[:2], groups=np.array([1, 0, 1], np.int32))
    store = library({"b0": pooled, "b1": replace(pooled, codes=pooled.codes[::-1])})
    service = SearchService(store, KnownQueries({}))
    query = likeness(service.collections.open(COLLECTION), KEY).query
    np.testing.assert_array_equal(query.codes, pooled.codes[[1, 0, 1]])
    [hit] = ask(service, explain=True).hits
    assert hit.explain is not None
    assert [each.query_id for each in hit.explain.alignment] == pooled.token_ids.tolist()


def test_groups_and_explanations_work() -> None:
    chapters = {f"b{i}": [example(i), example(50 + i)] for i in range(9)}
    service = SearchService(shelf(chapters), KnownQueries({}))
    first = ask(service, top_k=3, group_by="document", explain=True)
    assert first.page is not None
    explained = first.hits[0].explain
    assert explained is not None
    assert explained.terms


def rewrite(service: SearchService) -> None:
    service.collections.open(COLLECTION).replace(books({KEY.id: [example(77)]}))


def delete(service: SearchService) -> None:
    service.collections.open(COLLECTION).delete([KEY])


@pytest.mark.parametrize("change", [rewrite, delete])
def test_pages_are_explained_by_the_document_that_they_were_found_by(
    change: Callable[[SearchService], None],
) -> None:
    chapters = {f"b{i}": [example(i), example(50 + i)] for i in range(9)}
    service = SearchService(shelf(chapters), KnownQueries({}))
    whole = ask(service, top_k=16, explain=True).hits
    first = ask(service, top_k=3)
    assert first.page is not None
    change(service)
    page = Page.read(first.page)
    assert ask(service, page=page, offset=3, top_k=13, explain=True).hits == whole[3:]


def test_tenants_have_their_own_documents() -> None:
    service = SearchService(shelf({"b0": [example(1)], "b1": [example(2)]}), KnownQueries({}))
    collection = service.collections.open(COLLECTION)
    collection.replace(books({"x0": [example(3)], "x1": [example(4)]}, tenant="one"))
    found = ask(service, DocumentKey("one", "default", "x0"), top_k=50)
    assert [hit.document_id for hit in found.hits] == ["x1"]
    for key in (
        DocumentKey("one", "default", "b0"),
        DocumentKey("default", "default", "x0"),
        DocumentKey("default", "elsewhere", "b0"),
    ):
        with pytest.raises(NotFound, match=f"no document '{key.id}' from source '{key.source}'"):
            ask(service, key)
