"""Intervals that cover what they should, and p that is small where there is a difference."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.measuring import comparing
from evaluation.measuring.comparing import compare
from evaluation.measuring.significance import interval, randomisation_p
from m3.errors import InvalidInput


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        found = interval(rng.random(60), draws=400)
        assert found is not None
        covered += found[0] <= 0.5 <= found[1]
    assert 0.90 <= covered / 300 <= 0.985


def test_an_interval_is_as_wide_as_the_textbook_has_it() -> None:
    values = np.random.default_rng(2).normal(0.5, 0.1, 400)
    low, high = interval(values) or (0, 0)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.0006)
    assert interval(values) == (low, high), "the same each time"
    assert interval(values[:1]) is None


def test_p_is_exact_where_it_can_be_counted() -> None:
    """Of 2^8 signs, two give a sum as far from 0 as eight equal differences."""
    assert randomisation_p(np.full(8, 0.1)) == pytest.approx(2 / 256, abs=0.003)
    assert randomisation_p(np.zeros(8)) == 1
    assert randomisation_p(np.array([0.3, -0.3])) == 1


def test_p_is_uniform_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(3)
    found = [randomisation_p(rng.normal(0, 1, 50), draws=400) for _ in range(200)]
    assert 0.01 <= np.mean(np.array(found) < 0.05) <= 0.10


def test_a_difference_is_told_from_noise() -> None:
    rng = np.random.default_rng(4)
    a = rng.random(200) * 0.8
    better = compare("nDCG@10", a, a + 0.05 + rng.normal(0, 0.02, 200))
    assert not better.noise
    assert better.difference == pytest.approx(0.05, abs=0.01)
    assert better.interval[0] > 0
    assert (better.p, better.queries) == (pytest.approx(1 / 10_001), 200)
    alike = compare("nDCG@10", a, rng.permutation(a))
    assert alike.noise
    b = a.copy()
    b[:30] += 0.1
    b[30:40] -= 0.1
    counts = compare("nDCG@10", a, b)
    assert (counts.wins, counts.losses, counts.ties) == (30, 10, 160)


@pytest.mark.parametrize(
    ("p", "low", "noise"), [(0.01, 0.02, False), (0.2, 0.02, True), (0.01, -0.02, True)]
)
def test_interval_and_p_must_both_tell_a_difference(
    monkeypatch: pytest.MonkeyPatch, p: float, low: float, noise: bool
) -> None:
    """They rarely disagree, few queries or skewed differences apart."""
    monkeypatch.setattr(comparing, "randomisation_p", lambda *_, **__: p)
    monkeypatch.setattr(comparing, "interval", lambda *_, **__: (low, 0.3))
    assert compare("MAP", np.zeros(9), np.full(9, 0.1)).noise == noise


def test_one_query_has_no_interval() -> None:
    with pytest.raises(InvalidInput, match="1 query in common: two at least"):
        compare("nDCG@10", np.ones(1), np.ones(1))
