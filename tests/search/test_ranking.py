"""How candidates are ranked and grouped, against the plainest way to do so."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import astuple, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3.errors import InvalidInput
from m3.types import Representation
from scoring import definition
from scoring.fusion import Method, Weights
from search.ranking import Rank
from search.request import SearchRequest
from search.response import Hit
from search.service import SearchService
from tests.search.library import COLLECTION, KnownQueries, libraries, library, shelf

REQUEST = SearchRequest(query="q", collection=COLLECTION, top_k=100)


def ask(service: SearchService, request: SearchRequest) -> list[Hit]:
    return list(asyncio.run(service.search(request)).hits)


@st.composite
def shelves(draw: st.DrawFn):
    """A query and books of some chapters each."""
    query, passages, codec = draw(libraries())
    chapters: dict[str, list[Representation]] = defaultdict(list)
    for place, passage in enumerate(passages.values()):
        chapters[f"b{draw(st.integers(0, place))}"].append(passage)
    return query, chapters, codec


def reciprocal(
    query: Representation, passages: dict[str, Representation], request: SearchRequest
) -> dict[str, float]:
    """RRF sums by id, each leg ranked by its exact scores, equal ones by id."""
    sums: dict[str, float] = defaultdict(float)
    raw = {id_: definition.scores(query, passage) for id_, passage in passages.items()}
    for leg, column in (("dense", 0), ("sparse", 1)):
        if leg in request.legs:
            found = [id_ for id_ in raw if leg == "dense" or raw[id_][1] > 0]
            for rank, id_ in enumerate(sorted(found, key=lambda id_: (-raw[id_][column], id_))):
                sums[id_] += 1 / (61 + rank)
    return sums


@given(libraries(), st.sampled_from(Method))
@settings(max_examples=80)
def test_rrf_is_the_sum_of_reciprocal_ranks(world, method: Method) -> None:
    query, passages, codec = world
    service = SearchService(library(passages, codec), KnownQueries({"q": query}))
    request = replace(REQUEST, method=method, rank=Rank.RRF)
    expected = reciprocal(query, passages, request)
    hits = ask(service, request)
    assert {hit.document_id for hit in hits} == expected.keys()
    # Scores that differ in their last bits alone may change places.
    assert [hit.score for hit in hits] == pytest.approx(sorted(expected.values(), reverse=True))
    for hit in hits:
        raw = definition.scores(query, passages[hit.document_id])
        assert astuple(hit.scores) == pytest.approx(raw, abs=2e-6)


@given(shelves(), st.sampled_from(Method), st.sampled_from(Rank))
@settings(max_examples=80)
def test_documents_are_groups_of_the_ranked_chunks(world, method: Method, rank: Rank) -> None:
    query, chapters, codec = world
    service = SearchService(shelf(chapters, codec), KnownQueries({"q": query}))
    request = replace(REQUEST, method=method, rank=rank)
    groups: dict[str, list[Hit]] = defaultdict(list)
    for hit in ask(service, request):
        groups[hit.document_id].append(hit)
    documents = ask(service, replace(request, group_by="document"))
    assert [document.document_id for document in documents] == list(groups)
    for document in documents:
        best, *rest = groups[document.document_id]
        assert (document.id, document.score, document.text) == (best.id, best.score, best.text)
        assert document.chunks is not None
        assert [(c.id, c.position, c.score, c.scores) for c in document.chunks] == [
            (hit.id, hit.position, hit.score, hit.scores) for hit in rest
        ]


@given(shelves(), st.integers(1, 4))
@settings(max_examples=60)
def test_pages_of_documents_have_no_doubles_and_no_gaps(world, size: int) -> None:
    query, chapters, codec = world
    service = SearchService(shelf(chapters, codec), KnownQueries({"q": query}))
    request = replace(REQUEST, group_by="document")
    whole = [(hit.id, hit.chunks) for hit in ask(service, request)]
    paged: list[tuple] = []
    for offset in range(0, 20, size):
        hits = ask(service, replace(request, top_k=size, offset=offset))
        paged += [(hit.id, hit.chunks) for hit in hits]
    assert paged == whole


@given(libraries(), st.sampled_from(Rank), st.floats(-1, 1))
@settings(max_examples=60)
def test_a_least_score_leaves_out_what_is_below(world, rank: Rank, least: float) -> None:
    query, passages, codec = world
    service = SearchService(library(passages, codec), KnownQueries({"q": query}))
    request = replace(REQUEST, rank=rank)
    whole = ask(service, request)
    assert ask(service, replace(request, min_score=least)) == [
        hit for hit in whole if hit.score >= least
    ]


@given(libraries(), st.sampled_from(Rank))
@settings(max_examples=40)
def test_shares_add_up(world, rank: Rank) -> None:
    query, passages, codec = world
    service = SearchService(library(passages, codec), KnownQueries({"q": query}))
    for hit in ask(service, replace(REQUEST, rank=rank, explain=True)):
        assert hit.explain is not None
        assert sum(astuple(hit.explain.contributions)) == pytest.approx(hit.score, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rank": Rank.RRF, "weights": Weights(1, 1, 1)}, "weights count where rank is weighted"),
        ({"min_score": float("nan")}, "min_score must be a finite number"),
        ({"min_score": float("inf")}, "min_score must be a finite number"),
        ({"neighbours": 6}, "neighbours must be from 0 to 5, got 6"),
        ({"neighbours": -1}, "neighbours must be from 0 to 5"),
    ],
)
def test_values_out_of_range_are_refused(change: dict, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        replace(REQUEST, **change)
