"""Searches that go without what fails or is late, say so, and never without a reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection as Names
from collections.abc import Mapping
from dataclasses import astuple, replace
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3.errors import (
    DeadlineExceeded,
    M3Error,
    MilvusUnreachable,
    Overtaken,
    PageExpired,
    StoredDataError,
)
from m3.types import Codec, EmbeddingBatch, Representation, batch_of
from scoring import definition
from scoring.fusion import METHOD_WEIGHTS, Method, Weights
from search import degrade, rerank
from search.degrade import PARTS, Breakers, Budget
from search.paging import Page
from search.ranking import RRF_K, Rank
from search.request import SearchRequest
from search.service import SearchService
from store.candidates import Candidates, Leg, looking
from store.memory import MemoryCollection
from store.reports import Defaults
from tests.pace import Clock
from tests.search.library import (
    COLLECTION,
    KnownQueries,
    example,
    libraries,
    library,
    passages_of,
)

REQUEST = SearchRequest(query="q", collection=COLLECTION)
BROKEN = MilvusUnreachable("it is broken")
FLAWS = ("dense", "sparse", "colbert")
LEGS: tuple[Leg, ...] = ("dense", "sparse")


class Flawed(MemoryCollection):
    """Its broken legs fail, as those of the real one do."""

    broken: Mapping[Leg, M3Error]
    asked: list[tuple[Leg, ...]]
    within: float | None = None

    def candidates(self, query: Representation, *, legs: Any, **options: Any) -> Candidates:
        self.asked.append(tuple(legs))
        self.within = options.get("within")
        left = [leg for leg in legs if leg not in self.broken]
        failed = {leg: self.broken[leg] for leg in legs if leg in self.broken}
        if failed and not looking(left, query):
            raise next(iter(failed.values()))
        found = super().candidates(query, legs=left, **options)
        return replace(found, failed=failed)


class FlawedStore:
    """A store whose one collection has flaws."""

    def __init__(self, collection: Flawed) -> None:
        self.collection = collection

    def open(self, name: str, generation: int | None = None) -> Flawed:
        assert name == COLLECTION
        return self.collection

    def names(self) -> list[str]:
        return [COLLECTION]


def flawed(
    passages: Mapping[str, Representation], query: Representation, flaws: Names[str], codec: Codec
) -> tuple[SearchService, Flawed]:
    collection = Flawed(library(passages, codec)._record(COLLECTION))
    collection.broken = {leg: BROKEN for leg in ("dense", "sparse") if leg in flaws}
    collection.asked = []
    return service_over(collection, {"q": query}), collection


def service_over(collection: Flawed, queries: Mapping[str, Representation]) -> SearchService:
    """It gives up legs for as long as its tests take."""
    service = SearchService(FlawedStore(collection), KnownQueries(queries))
    service.breakers._clock = Clock()
    return service


def ask(service: SearchService, request: SearchRequest) -> Any:
    return asyncio.run(service.search(request))


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """No ColBERT is in time, for whoever has a limit."""
    monkeypatch.setattr(degrade, "_COLBERT_SHARE", 0.0)


@given(libraries(), st.sampled_from(Method), st.sets(st.sampled_from(FLAWS)), st.integers(3, 16))
@settings(max_examples=150)
def test_what_is_left_is_ranked_by_renormalised_weights(
    world, method: Method, flaws: set[str], depth: int
) -> None:
    query, passages, codec = world
    request = replace(REQUEST, method=method, candidates=depth, top_k=depth, explain=True)
    if "colbert" in flaws:
        request = replace(request, timeout_ms=600_000)
    service, _ = flawed(passages, query, flaws, codec)
    raw = {id_: definition.scores(query, passage) for id_, passage in passages.items()}
    legs = [leg for leg in request.legs if leg not in flaws]
    dropped = {part for part in flaws if part == "colbert" or part in request.legs}
    weights = [
        0.0 if part in dropped else weight
        for part, weight in zip(PARTS, METHOD_WEIGHTS[method].as_tuple(), strict=True)
    ]
    found = set[str]()
    for leg in legs:
        column = PARTS.index(leg)
        ids = sorted(raw, key=lambda id_: -raw[id_][column])
        found |= {id_ for id_ in ids if leg == "dense" or raw[id_][1] > 0} & set(
            [id_ for id_ in ids if leg == "dense" or raw[id_][1] > 0][:depth]
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(degrade, "_COLBERT_SHARE", 0.0)
        unanswered = not [leg for leg in legs if leg == "dense" or len(query.sparse_ids)]
        # Where nothing was found, no ColBERT score is late.
        if (dropped and unanswered) or (found and not any(weights)):
            if legs and unanswered:
                return  # the store's own affair: tests/store/test_failing_legs.py
            with pytest.raises((MilvusUnreachable, DeadlineExceeded)):
                ask(service, request)
            return
        answer = ask(service, request)
    fused = {
        id_: sum(w * s for w, s in zip(weights, raw[id_], strict=True)) / sum(weights)
        for id_ in found
    }
    if not found and "colbert" in dropped:
        dropped -= {"colbert"}  # nothing was to be scored
    assert list(answer.degraded) == [part for part in PARTS if part in dropped]
    assert [hit.document_id for hit in answer.hits] == sorted(
        fused, key=lambda id_: (-fused[id_], id_)
    )[:depth]
    for hit in answer.hits:
        assert hit.score == pytest.approx(fused[hit.document_id], abs=2e-6)
        for part, score in zip(PARTS, raw[hit.document_id], strict=True):
            shown = getattr(hit.scores, part)
            assert shown is None if part in dropped else shown == pytest.approx(score, abs=2e-6)
        assert sum(astuple(hit.explain.contributions)) == pytest.approx(hit.score, abs=1e-6)
        assert astuple(hit.explain.weights) == pytest.approx(
            [weight / sum(weights) for weight in weights]
        )


def service_with(*flaws: str, count: int = 30) -> tuple[SearchService, Flawed]:
    return flawed(passages_of(count), example(1, Codec.FP32), flaws, Codec.INT8)


@pytest.mark.parametrize("broken", ["dense", "sparse"])
def test_ranks_are_of_the_legs_that_answered(broken: Leg) -> None:
    service, _ = service_with(broken)
    answer = ask(service, replace(REQUEST, rank=Rank.RRF))
    assert list(answer.degraded) == [broken]
    assert [hit.score for hit in answer.hits] == [1 / (RRF_K + 1 + i) for i in range(10)]
    assert all(getattr(hit.scores, broken) is None for hit in answer.hits)
    assert all(hit.scores.colbert is not None for hit in answer.hits)


@pytest.mark.usefixtures("late")
def test_ranks_need_no_colbert() -> None:
    service, _ = service_with()
    request = replace(REQUEST, method=Method.COLBERT, rank=Rank.RRF)
    answer = ask(service, replace(request, timeout_ms=600_000))
    assert answer.degraded == ("colbert",)
    assert [hit.id for hit in answer.hits] == [hit.id for hit in ask(service, request).hits]


def test_ranks_need_no_weights() -> None:
    service, collection = service_with("dense")
    collection.save_defaults(Defaults({Method.FUSION: Weights(1, 0, 0)}), collection.spec)
    answer = ask(service, replace(REQUEST, rank=Rank.RRF, explain=True))
    assert answer.degraded == ("dense",)
    assert [hit.score for hit in answer.hits] == [1 / (RRF_K + 1 + i) for i in range(10)]


def test_a_method_without_its_only_leg_is_an_error() -> None:
    for leg in ("dense", "sparse"):
        with pytest.raises(MilvusUnreachable):
            ask(service_with(leg)[0], replace(REQUEST, method=Method(leg)))
    with pytest.raises(MilvusUnreachable):
        ask(service_with("dense", "sparse")[0], REQUEST)
    with pytest.raises(MilvusUnreachable):
        ask(service_with("dense")[0], replace(REQUEST, weights=Weights(1, 0, 0)))


@pytest.mark.usefixtures("late")
def test_colbert_that_is_late_drops_out_but_where_nothing_else_counts() -> None:
    service, _ = service_with()
    answer = ask(service, replace(REQUEST, timeout_ms=600_000))
    assert answer.degraded == ("colbert",)
    assert {hit.scores.colbert for hit in answer.hits} == {None}
    without = ask(service, replace(REQUEST, method=Method.DENSE_SPARSE))
    assert [hit.id for hit in answer.hits] == [hit.id for hit in without.hits]
    assert not ask(service, REQUEST).degraded
    with pytest.raises(DeadlineExceeded):
        ask(service, replace(REQUEST, method=Method.COLBERT, timeout_ms=600_000))


def test_colbert_in_parts_has_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerank, "_AT_ONCE", 7)
    service, _ = service_with()
    whole, parts = ask(service, REQUEST), ask(service, replace(REQUEST, timeout_ms=600_000))
    assert [astuple(hit.scores) for hit in parts.hits] == [
        astuple(hit.scores) for hit in whole.hits
    ]


def test_colbert_is_given_up_between_passages(monkeypatch: pytest.MonkeyPatch) -> None:
    _, collection = service_with()
    query = example(1, Codec.FP32)
    found = collection.candidates(query, legs=["dense"], depth=30, tenant="default")
    clock, parts = Clock(), list[int]()

    def slow(_: Any, passages: EmbeddingBatch, start: int, stop: int) -> float:
        parts.append(start)
        clock.now += 1
        return 0.5

    monkeypatch.setattr(rerank, "_AT_ONCE", 7)
    monkeypatch.setattr(rerank, "colbert_scores", slow)
    monkeypatch.setattr(rerank, "time", clock)
    scored = rerank.score(query, found.rows, found.legs, {}, ends=clock.now + 2)
    assert scored.degraded == ("colbert",)
    assert parts == [0, 7]


@pytest.mark.parametrize("at", [1, 4, 29])
def test_scores_do_not_depend_on_how_rows_were_read(at: int) -> None:
    _, collection = service_with()
    query = example(1, Codec.FP32)
    found = collection.candidates(query, legs=["dense"], depth=30, tenant="default")
    embeddings = list(found.rows.embeddings)
    parts = replace(found.rows, batches=[batch_of(embeddings[:at]), batch_of(embeddings[at:])])
    ends = time.monotonic() + 600
    whole, split, hurried = (
        rerank.score(query, rows, found.legs, {}, ends=until)
        for rows, until in ((found.rows, None), (parts, None), (parts, ends))
    )
    np.testing.assert_array_equal(split.scores, whole.scores)
    np.testing.assert_array_equal(hurried.scores, whole.scores)
    assert split.degraded == hurried.degraded == ()


def test_legs_get_a_share_of_the_time() -> None:
    service, collection = service_with()
    ask(service, REQUEST)
    assert collection.within is None
    ask(service, replace(REQUEST, timeout_ms=600_000))
    assert collection.within is not None
    assert 0 < collection.within <= 360


def test_a_query_that_no_node_embeds_in_time_is_an_error() -> None:
    class Slow(KnownQueries):
        async def encode(self, *args: Any, **options: Any) -> EmbeddingBatch:
            await asyncio.Event().wait()
            raise AssertionError(args, options)

    service = SearchService(library(passages_of(3)), Slow({}))
    with pytest.raises(DeadlineExceeded, match="timeout_ms"):
        ask(service, replace(REQUEST, timeout_ms=100))


def test_measuring_does_without_nothing() -> None:
    service, _ = service_with("sparse")
    with pytest.raises(MilvusUnreachable):
        asyncio.run(service.look(REQUEST))


def test_pages_of_a_degraded_search_stay_degraded() -> None:
    service, collection = service_with("sparse")
    first = ask(service, REQUEST)
    page = Page.read(first.page)
    next_ = replace(REQUEST, page=page, offset=10)
    collection.broken = {}
    assert list(ask(service, next_).degraded) == ["sparse"]
    # Where the ranking is kept no longer, a whole one must not go on from half of one.
    service = service_over(collection, {"q": example(1, Codec.FP32)})
    with pytest.raises(PageExpired):
        ask(service, next_)
    collection.broken = {"sparse": BROKEN}
    assert list(ask(service, next_).degraded) == ["sparse"]


def test_a_leg_that_keeps_failing_is_tried_once_in_a_while() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    for _ in range(3):
        assert not breakers.refused("c", ["dense", "sparse"])
        breakers.tell("c", {"dense": BROKEN, "sparse": None}, None)
    assert breakers.open("dense") == 1
    assert list(breakers.refused("c", ["dense", "sparse"])) == ["dense"]
    assert not breakers.refused("other", ["dense"])
    clock.now += 6
    assert not breakers.refused("c", ["dense"])
    assert breakers.refused("c", ["dense"]), "one probe at a time"
    breakers.tell("c", {"dense": BROKEN}, None)
    assert breakers.refused("c", ["dense"])
    clock.now += 6
    assert not breakers.refused("c", ["dense"])
    breakers.release("c", ["dense"])
    assert not breakers.refused("c", ["dense"]), "a probe that was given up is free again"
    breakers.tell("c", {"dense": None}, None)
    assert not breakers.refused("c", ["dense"])
    assert not breakers.open("dense")


@pytest.mark.parametrize(
    ("error", "within"),
    [
        (DeadlineExceeded("late"), 0.1),
        (StoredDataError("the table is"), None),
        (Overtaken("it is written to"), None),
    ],
)
def test_what_says_nothing_of_milvus_closes_no_leg(error: M3Error, within: float | None) -> None:
    breakers = Breakers()
    for _ in range(9):
        breakers.tell("c", {"dense": error}, within)
    assert not breakers.refused("c", ["dense"])


def test_failures_far_apart_close_no_leg() -> None:
    clock = Clock()
    breakers = Breakers(clock)
    for _ in range(9):
        breakers.tell("c", {"dense": BROKEN}, None)
        clock.now += 40
    assert not breakers.refused("c", ["dense"])


def test_a_search_goes_without_a_leg_that_is_not_tried() -> None:
    service, collection = service_with("sparse")
    for _ in range(5):
        assert list(ask(service, REQUEST).degraded) == ["sparse"]
    assert collection.asked == [("dense", "sparse")] * 3 + [("dense",)] * 2
    with pytest.raises(MilvusUnreachable, match="in a row"):
        ask(service, replace(REQUEST, method=Method.SPARSE))


@pytest.mark.parametrize("broken", ["dense", "sparse"])
def test_weights_that_need_a_broken_leg_say_nothing_of_the_other(broken: Leg) -> None:
    service, collection = service_with(broken)
    alone = Weights(**{part: float(part == broken) for part in PARTS})
    for _ in range(3):
        with pytest.raises(MilvusUnreachable):
            ask(service, replace(REQUEST, weights=alone))
    assert list(ask(service, REQUEST).degraded) == [broken]
    assert collection.asked[3:] == [tuple(leg for leg in LEGS if leg != broken)]


@pytest.mark.usefixtures("late")
def test_what_fails_after_the_legs_have_answered_closes_none() -> None:
    service, collection = service_with()
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            ask(service, replace(REQUEST, method=Method.COLBERT, timeout_ms=600_000))
    assert not ask(service, REQUEST).degraded
    assert collection.asked == [LEGS] * 4


def test_a_leg_with_nothing_to_look_for_is_not_why_the_other_fails() -> None:
    query, none = example(1, Codec.FP32), np.empty(0)
    dumb = replace(query, sparse_ids=none.astype(np.int32), sparse_weights=none.astype(np.float32))
    _, collection = service_with("dense")
    service = service_over(collection, {"q": query, "dumb": dumb})
    for _ in range(3):
        with pytest.raises(MilvusUnreachable):
            ask(service, replace(REQUEST, query="dumb"))
    assert list(ask(service, REQUEST).degraded) == ["dense"]
    assert collection.asked[3:] == [("sparse",)]


def test_without_an_end_there_is_no_hurry() -> None:
    budget = Budget.of(None)
    assert (budget.left(), budget.legs(), budget.colbert_ends()) == (None, None, None)


@pytest.mark.anyio
async def test_the_api_tells_what_dropped_out(
    api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(degrade, "_COLBERT_SHARE", 0.0)
    body = {"query": "q", "collection": COLLECTION, "timeout_ms": 600_000, "explain": True}
    answer = await api.post("/v1/search", json=body)
    assert answer.status_code == 200
    assert answer.json()["degraded"] == ["colbert"]
    assert {hit["scores"]["colbert"] for hit in answer.json()["hits"]} == {None}
    metrics = (await api.get("/metrics")).text
    assert 'm3_search_degraded_total{part="colbert"} 1.0' in metrics
    assert 'm3_search_legs_given_up{leg="dense"} 0.0' in metrics
    late = await api.post("/v1/search", json={**body, "method": "colbert"})
    assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
    for timeout_ms in (0, 600_001):
        refused = await api.post("/v1/search", json={**body, "timeout_ms": timeout_ms})
        assert refused.status_code == 400
