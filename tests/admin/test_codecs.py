"""Codes of all kinds on a small judged set in memory, against the definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from admin.codecs import BASE, KINDS, Texts, costs, table
from admin.precision import beside
from ingest.pooling import pooled
from m3.codec import decode_tokens, encode_tokens
from m3.types import F32, Codec, Representation, batch_of
from scoring.definition import colbert_score

D, TOKENS = 64, 8


def unit(rng: np.random.Generator, rows: int) -> F32:
    vectors = rng.standard_normal((rows, D)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def text_of(vectors: F32) -> Representation:
    return Representation(
        dense=vectors[0],
        sparse_ids=np.array([1], np.int32),
        sparse_weights=np.array([0.5], np.float32),
        token_ids=np.arange(len(vectors), dtype=np.int32),
        codes=encode_tokens(vectors, Codec.FP32),
        codec=Codec.FP32,
    )


@pytest.fixture
def texts() -> Texts:
    """Query i is the first tokens of document i."""
    rng = np.random.default_rng(7)
    documents = [unit(rng, TOKENS) for _ in range(30)]
    queries = [document[:4] for document in documents[:10]]
    return Texts(
        name="small",
        precision="fp32",
        seconds=2.0,
        stand_in=False,
        qrels={f"q{i}": {f"d{i:02}": 1} for i in range(10)},
        ids=[f"d{i:02}" for i in range(30)],
        documents=batch_of([text_of(vectors) for vectors in documents]),
        queries=batch_of([text_of(vectors) for vectors in queries]),
    )


def kind(name: str):
    return next(each for each in KINDS if each.name == name)


def test_every_kind_is_measured_and_fp32_is_what_they_are_held_against(texts: Texts) -> None:
    found = {cost.kind: cost for cost in costs(texts)}
    assert list(found) == [each.name for each in KINDS]
    base = found[BASE]
    assert (base.ndcg, base.colbert, base.overlap, base.against) == (1.0, 1.0, 1.0, None)
    assert base.passage_bytes == TOKENS * 4 * D
    assert found["int8"].passage_bytes == TOKENS * (D + 4)
    assert found["binary"].passage_bytes == TOKENS * D / 8
    assert found["int8, pooled 4"].passage_bytes == found["int8"].passage_bytes / 4
    assert found["int8"].overlap > found["int8, pooled 4"].overlap
    assert found["int8"].milliseconds is not None
    assert found["binary"].milliseconds is None
    assert len(table(list(found.values()), texts).rows) == len(KINDS)


def test_pooled_vectors_are_those_that_ingest_would_write() -> None:
    vectors = unit(np.random.default_rng(1), 5)
    shrunk = encode_tokens(kind("int8, pooled 2").shrunk(vectors), Codec.INT8)
    single = replace(text_of(vectors), codes=encode_tokens(vectors, Codec.INT8), codec=Codec.INT8)
    np.testing.assert_array_equal(shrunk, pooled(single, 2).codes)
    assert shrunk.shape == (3, D + 4)


def test_binary_keeps_signs_alone() -> None:
    vectors = unit(np.random.default_rng(2), 3)
    signs = kind("binary").shrunk(vectors)
    np.testing.assert_array_equal(np.sign(signs), np.sign(vectors))
    np.testing.assert_allclose(np.linalg.norm(signs, axis=1), 1, rtol=1e-6)
    query = unit(np.random.default_rng(3), 2)
    expected = (query @ np.sign(vectors).T / 8).max(axis=1).mean()
    assert colbert_score(query, signs) == pytest.approx(float(expected), rel=1e-5)


def test_nodes_are_held_against_the_first(texts: Texts) -> None:
    """The second one has lost the half of its dimensions; it took half the time."""
    vectors = [decode_tokens(row.codes, row.codec).copy() for row in texts.documents]
    for rows in vectors:
        rows[:, D // 8 :] = 0
    coarse = batch_of([text_of(rows) for rows in vectors])
    other = replace(texts, precision="int8", seconds=1.0, documents=coarse)
    first, same, worse = beside([texts, texts, other]).rows
    assert first == ("fp32", 30 * TOKENS / 2.0, 1.0, 1.0, 1.0, "")
    assert same[2:5] == (1.0, 1.0, 1.0)
    assert str(same[5]).startswith("+0.0000")
    assert (worse[0], worse[1]) == ("int8", 30 * TOKENS)
    assert worse[4] < 1.0
