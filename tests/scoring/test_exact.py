"""The fast scores against their definition, and what a score must not depend on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3.codec import decode_tokens, encode_tokens
from m3.types import Codec, EmbeddingBatch, Representation, batch_of
from scoring import definition
from scoring.codes import Apart, Together
from scoring.exact import all_scores, colbert_scores
from scoring.maxsim import maxsim
from scoring.native import binding
from tests.m3.strategies import batches, codecs, dimensions, representations, unit_vectors


@st.composite
def questions(draw: st.DrawFn) -> tuple[Representation, EmbeddingBatch]:
    """An fp32 query, as queries travel, and passages in any codec."""
    dimension = draw(dimensions)
    query = draw(representations(dimension, Codec.FP32))
    return query, draw(batches(dimension, draw(codecs), pooled=draw(st.booleans())))


@given(questions())
@settings(max_examples=150)
def test_all_scores_are_the_definition(question: tuple[Representation, EmbeddingBatch]) -> None:
    query, passages = question
    expected = [definition.scores(query, passage) for passage in passages]
    np.testing.assert_allclose(all_scores(query, passages), expected, rtol=0, atol=2e-6)


@given(questions(), st.data())
@settings(max_examples=100)
def test_a_score_has_the_same_bits_alone_and_among_others(
    question: tuple[Representation, EmbeddingBatch], data: st.DataObject
) -> None:
    query, passages = question
    order = data.draw(st.permutations(range(len(passages))))
    shuffled = batch_of([passages.row(i) for i in order])
    together = all_scores(query, passages)
    assert np.array_equal(all_scores(query, shuffled), together[order])
    for i, passage in enumerate(passages):
        assert np.array_equal(all_scores(query, batch_of([passage]))[0], together[i])


@given(questions(), st.data())
@settings(max_examples=100)
def test_rows_that_lie_apart_score_as_columns_do(
    question: tuple[Representation, EmbeddingBatch], data: st.DataObject
) -> None:
    """Views of the columns, copies, and some with gaps or that cannot be written to."""
    query, passages = question
    lie = st.sampled_from((np.asarray, np.copy, lambda codes: np.repeat(codes, 2, axis=0)[::2]))
    rows = [replace(row, codes=data.draw(lie)(row.codes)) for row in passages]
    for row in rows:
        row.codes.flags.writeable = data.draw(st.booleans())
    stop = data.draw(st.integers(0, len(rows)))
    start = data.draw(st.integers(0, stop))
    for kernels in (binding.library(), None):
        with patch.object(binding, "library", lambda found=kernels: found):
            expected = all_scores(query, passages)
            assert np.array_equal(all_scores(query, rows), expected)
            part = colbert_scores(query, rows, start, stop)
            assert np.array_equal(part, expected[start:stop, 2])


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("tokens", [1, 255, 256, 257, 700])
def test_passages_of_any_length_around_the_block(tokens: int, codec: Codec) -> None:
    rng = np.random.default_rng(tokens)
    query = unit_vectors(rng, 9, 64)
    lengths = [3, 0, tokens, 0, 1, tokens, 0]
    codes = encode_tokens(unit_vectors(rng, sum(lengths), 64), codec)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    expected = [
        definition.colbert_score(query, decode_tokens(codes[start:end], codec))
        for start, end in pairwise(offsets)
    ]
    scores = maxsim(query, Together(codes, offsets), codec)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-6)


def test_equal_passages_tie_wherever_they_stand() -> None:
    rng = np.random.default_rng(7)
    query = unit_vectors(rng, 13, 384)
    passage = encode_tokens(unit_vectors(rng, 37, 384), Codec.INT8)
    codes = np.concatenate([passage] * 40)
    scores = maxsim(query, Together(codes, np.arange(41) * 37), Codec.INT8)
    assert len(set(scores.tolist())) == 1


def test_the_maximum_is_not_floored_at_zero() -> None:
    query = np.array([[1.0] + [0.0] * 63], np.float32)
    codes = encode_tokens(-query, Codec.FP32)
    assert maxsim(query, Together(codes, np.array([0, 1])), Codec.FP32)[0] == -1


def test_no_tokens_score_zero() -> None:
    codes = encode_tokens(unit_vectors(np.random.default_rng(0), 2, 64), Codec.INT8)
    none = np.zeros((0, 64), np.float32)
    for query in (none, np.ones((1, 64), np.float32)):
        for passages in (Together(codes[:0], np.array([0, 0, 0])), Apart([codes[:0]] * 2)):
            assert maxsim(query, passages, Codec.INT8).tolist() == [0, 0]
        for passages in (Together(codes[:0], np.array([0])), Apart([])):
            assert maxsim(query, passages, Codec.INT8).tolist() == []
    assert maxsim(none, Together(codes, np.array([0, 1, 2])), Codec.INT8).tolist() == [0, 0]


def test_int8_scores_stay_near_fp32() -> None:
    rng = np.random.default_rng(3)
    query, vectors = unit_vectors(rng, 32, 1024), unit_vectors(rng, 5 * 180, 1024)
    offsets = np.arange(6) * 180
    exact, stored = (
        maxsim(query, Together(encode_tokens(vectors, codec), offsets), codec)
        for codec in (Codec.FP32, Codec.INT8)
    )
    np.testing.assert_allclose(stored, exact, rtol=0, atol=5e-4)
