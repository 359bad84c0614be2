"""The oracle itself, on numbers that can be worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest

from scoring.definition import colbert_score, dense_score, fused_score, sparse_score


def test_dense_is_the_inner_product() -> None:
    assert dense_score(np.array([0.6, 0.8], np.float16), np.array([1, 0], np.float16)) == (
        pytest.approx(0.6, abs=1e-3)
    )


def test_sparse_sums_over_shared_terms() -> None:
    ids, weights = np.array([2, 5, 9], np.int32), np.array([0.5, 0.25, 1], np.float32)
    others = np.array([5, 9, 11], np.int32)
    assert sparse_score(ids, weights, others, weights) == 0.25 * 0.5 + 1 * 0.25
    assert sparse_score(ids[:1], weights[:1], others, weights) == 0
    assert sparse_score(ids[:0], weights[:0], others, weights) == 0


def test_colbert_is_the_mean_of_maxima() -> None:
    query = np.array([[1, 0], [0, 1]], np.float32)
    passage = np.array([[0.5, 0.1], [0.2, -0.3]], np.float32)
    assert colbert_score(query, passage) == pytest.approx((0.5 + 0.1) / 2)
    assert colbert_score(query, -query) == pytest.approx(0)
    assert colbert_score(query[:0], passage) == colbert_score(query, passage[:0]) == 0


def test_fusion_divides_by_the_sum_of_the_weights() -> None:
    assert fused_score((0.9, 0.2, 0.5), (1, 0.3, 1)) == pytest.approx(1.46 / 2.3)
    assert fused_score((0.9, 0.2, 0.5), (0, 2, 0)) == pytest.approx(0.2)
