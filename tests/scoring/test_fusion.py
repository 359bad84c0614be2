"""Weights that are refused, fusion against its definition, and the order of hits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from m3.errors import InvalidInput
from scoring.definition import fused_score
from scoring.fusion import METHOD_WEIGHTS, PRESETS, Method, Weights, fuse, ranked

score_matrices = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 12), st.just(3)),
    elements=st.floats(-1, 2, width=32),
)
finite = st.floats(0, 1e6)


@st.composite
def weights(draw: st.DrawFn) -> Weights:
    values = draw(st.tuples(finite, finite, finite).filter(lambda w: sum(w) > 1e-6))
    return Weights(*values)


@given(score_matrices, weights())
def test_fusion_is_the_definition(scores: np.ndarray, chosen: Weights) -> None:
    fused = fuse(scores, chosen)
    for row, score in zip(scores.tolist(), fused.tolist(), strict=True):
        assert score == pytest.approx(fused_score(tuple(row), chosen.as_tuple()), abs=1e-9)


@given(score_matrices, weights(), st.sampled_from((0.5, 2.0, 1024.0)))
def test_only_ratios_of_weights_matter(scores: np.ndarray, chosen: Weights, factor: float) -> None:
    scaled = Weights(*(factor * value for value in chosen.as_tuple()))
    np.testing.assert_allclose(fuse(scores, scaled), fuse(scores, chosen), rtol=1e-12, atol=1e-12)


@given(st.lists(st.sampled_from((0.0, 0.25, 0.5)), max_size=12), st.randoms())
def test_ties_are_in_the_order_of_ids(scores: list[float], random) -> None:
    ids = [f"d#{i}" for i in range(len(scores))]
    random.shuffle(ids)
    order = ranked(np.array(scores), ids)
    assert sorted(order) == list(range(len(scores)))
    keys = [(-scores[row], ids[row]) for row in order]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((-0.1, 1, 1), "negative"),
        ((0, 0, 0), "above zero"),
        ((math.nan, 1, 1), "finite"),
        ((1, math.inf, 1), "finite"),
        ((1e308, 1e308, 1e308), "too large"),
    ],
)
def test_weights_that_cannot_weigh_are_refused(
    values: tuple[float, float, float], reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        Weights(*values)


def test_every_method_has_weights_of_its_own_scores() -> None:
    used = {
        method: tuple(weight > 0 for weight in METHOD_WEIGHTS[method].as_tuple())
        for method in Method
    }
    assert used == {
        Method.DENSE: (True, False, False),
        Method.SPARSE: (False, True, False),
        Method.COLBERT: (False, False, True),
        Method.DENSE_SPARSE: (True, True, False),
        Method.FUSION: (True, True, True),
    }
    assert METHOD_WEIGHTS[Method.FUSION] == PRESETS["mkqa"]
