"""Pooled tokens: Ward's clustering as it is defined, in numpy, for any number of tokens."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.pooling import STRETCH, grouped, means, pooled
from m3.codec import decode_tokens, encode_tokens
from m3.types import F32, Codec, Representation
from tests.m3.strategies import codecs, representations, unit_vectors


def _spread(vectors: F32, group: list[int]) -> float:
    """Sum of squared distances from the mean."""
    own = vectors[group].astype(np.float64)
    return float(((own - own.mean(axis=0)) ** 2).sum())


def _by_definition(vectors: F32, by: int) -> list[list[int]]:
    """Join the two groups that add least to the spread, until few enough are left."""
    groups = [[i] for i in range(len(vectors))]

    def added(pair: tuple[list[int], list[int]]) -> float:
        one, other = pair
        return _spread(vectors, one + other) - _spread(vectors, one) - _spread(vectors, other)

    while len(groups) > -(-len(vectors) // by):
        one, other = min(combinations(groups, 2), key=added)
        groups = [each for each in groups if each is not one and each is not other]
        groups.append(sorted(one + other))
    return sorted(groups)


@given(st.integers(0, 2**32 - 1), st.integers(0, 14), st.integers(2, 4))
@settings(max_examples=60)
def test_groups_are_wards(seed: int, tokens: int, by: int) -> None:
    vectors = unit_vectors(np.random.default_rng(seed), tokens, 16)
    groups = grouped(vectors, by)
    found = [np.flatnonzero(groups == i).tolist() for i in range(groups.max(initial=-1) + 1)]
    assert found == _by_definition(vectors, by)


@given(codecs.flatmap(lambda codec: representations(64, codec)), st.integers(1, 4))
def test_a_vector_is_the_mean_of_its_tokens_and_of_length_1(row: Representation, by: int) -> None:
    found = pooled(row, by)
    if by == 1:
        assert found is row
        return
    tokens = decode_tokens(row.codes, row.codec)
    expected = [tokens[found.groups == i].sum(axis=0) for i in range(-(-len(tokens) // by))]
    expected = [each / np.linalg.norm(each) for each in expected]
    written = encode_tokens(np.reshape(np.asarray(expected, np.float32), (-1, 64)), row.codec)
    close = {Codec.INT8: 3e-3, Codec.BF16: 8e-3, Codec.FP32: 1e-6}[row.codec]
    np.testing.assert_allclose(
        decode_tokens(found.codes, row.codec), decode_tokens(written, row.codec), atol=close
    )
    assert found.codes.shape == written.shape
    assert len(found.codes_by_token()) == len(found.token_ids)
    np.testing.assert_array_equal(found.token_ids, row.token_ids)


def test_equal_tokens_are_one_and_opposites_are_nothing_that_is_not_finite() -> None:
    up = np.eye(16, dtype=np.float32)[0]
    assert grouped(np.stack([up] * 4), 4).tolist() == [0] * 4
    assert means(np.stack([up, -up]), np.zeros(2, np.int32)).tolist() == [[0.0] * 16]


@pytest.mark.parametrize("tokens", [STRETCH + 1, 2 * STRETCH + 300])
def test_a_long_text_is_clustered_in_stretches(tokens: int) -> None:
    vectors = unit_vectors(np.random.default_rng(1), tokens, 16)
    groups, first = grouped(vectors, 2), 0
    for start in range(0, tokens, STRETCH):
        part = vectors[start : start + STRETCH]
        np.testing.assert_array_equal(groups[start : start + STRETCH], grouped(part, 2) + first)
        first += -(-len(part) // 2)
    assert groups.max() + 1 == first
