"""What a search refuses, with a reason that says what to change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from m3.errors import InvalidInput
from scoring.fusion import Method, Weights, preset_named
from search.request import SearchRequest, method_named

REQUEST = SearchRequest(query="q", collection="c")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"query": ""}, "query is empty"),
        ({"query": " \n\t"}, "query is empty"),
        ({"query": "x" * 20_001}, "20001 characters: send at most 20000"),
        ({"top_k": 0}, "top_k must be from 1 to 1000, got 0"),
        ({"top_k": -1}, "top_k must be from 1 to 1000"),
        ({"top_k": 20_000}, "top_k must be from 1 to 1000, got 20000"),
        ({"offset": -1}, "offset must be from 0"),
        ({"offset": 5000}, "offset must be from 0 to 999"),
        ({"candidates": 0}, "candidates must be from 1 to 1000"),
        ({"candidates": 1001}, "candidates must be from 1 to 1000, got 1001"),
        ({"candidates": 9}, "set candidates"),
        ({"offset": 91}, "offset \\+ top_k is 101, but only 100 candidates"),
        ({"offset": 995, "candidates": 1000}, "offset \\+ top_k is 1005: at most 1000 hits"),
    ],
)
def test_values_out_of_range_are_refused(change: dict, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        replace(REQUEST, **change)


def test_the_limits_themselves_are_fine() -> None:
    assert replace(REQUEST, query="x" * 20_000, top_k=1000).depth == 1000
    assert replace(REQUEST, offset=990, candidates=1000).depth == 1000
    assert replace(REQUEST, top_k=100).depth == 100
    assert replace(REQUEST, candidates=10).depth == 10


def test_the_depth_does_not_depend_on_the_page() -> None:
    pages = [replace(REQUEST, top_k=20, offset=offset) for offset in range(0, 81, 20)]
    assert {page.depth for page in pages} == {100}


def test_methods_have_their_legs() -> None:
    legs = {method: tuple(replace(REQUEST, method=method).legs) for method in Method}
    assert legs.pop(Method.DENSE) == ("dense",)
    assert legs.pop(Method.SPARSE) == ("sparse",)
    assert set(legs.values()) == {("dense", "sparse")}


def test_weights_override_the_methods() -> None:
    chosen = Weights(1, 2, 3)
    assert replace(REQUEST, method=Method.DENSE, weights=chosen).scoring_weights({}) is chosen
    assert replace(REQUEST, method=Method.DENSE).scoring_weights({}) == Weights(1, 0, 0)


def test_names_that_are_unknown_are_told_with_those_that_are() -> None:
    assert method_named("dense+sparse") is Method.DENSE_SPARSE
    assert preset_named("mldr") == Weights(0.15, 0.5, 0.35)
    with pytest.raises(InvalidInput, match="'bm25'; there are: dense, sparse, colbert"):
        method_named("bm25")
    with pytest.raises(InvalidInput, match="'best'; presets: model-card"):
        preset_named("best")
