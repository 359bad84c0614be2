"""An embedding batch as JSON: what it holds, and what JSON has no word for."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import orjson
import pytest

from embedder.api.answers import encode_answer, finite
from m3.codec import decode_tokens
from m3.errors import NotFinite
from m3.types import OUTPUTS, Codec, EmbeddingBatch, offsets_of

DIMENSION = 5


@pytest.fixture
def batch() -> EmbeddingBatch:
    random = np.random.default_rng(7)
    tokens = [3, 1]
    return EmbeddingBatch(
        dense=random.normal(size=(2, DIMENSION)).astype(np.float32),
        sparse_offsets=offsets_of([2, 0]),
        sparse_ids=np.array([4, 9], np.int32),
        sparse_weights=np.array([0.5, 0.25], np.float32),
        token_offsets=offsets_of(tokens),
        token_ids=np.arange(4, dtype=np.int32),
        codes=random.normal(size=(4, DIMENSION)).astype("<f4").view(np.uint8),
        tokens=np.array([4, 2], np.int32),
        truncated=np.array([False, True]),
        codec=Codec.FP32,
        model="m",
        fingerprint="f",
    )


@pytest.mark.parametrize(("encoding", "dtype"), [("base64", "<f4"), ("base64-fp16", "<f2")])
def test_base64_holds_the_values_row_after_row(batch, encoding, dtype):
    listed = orjson.loads(encode_answer(batch, OUTPUTS))["data"]
    packed = orjson.loads(encode_answer(batch, OUTPUTS, encoding))["data"]
    for row, plain, item in zip(batch, listed, packed, strict=True):
        dense = np.frombuffer(base64.b64decode(item.pop("dense")), dtype)
        assert dense.tolist() == row.dense.astype(dtype).tolist()
        colbert = np.frombuffer(base64.b64decode(item.pop("colbert")), dtype)
        expected = decode_tokens(row.codes, Codec.FP32).astype(dtype)
        assert colbert.reshape(item["tokens"] - 1, -1).tolist() == expected.tolist()
        assert item == {name: plain[name] for name in item}
        np.testing.assert_allclose(plain["dense"], row.dense, rtol=1e-6)


@pytest.mark.parametrize("column", ["dense", "sparse_weights", "codes"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_a_value_that_is_not_finite_never_becomes_json(batch, column, value, encoding):
    values = getattr(batch, column).copy()
    (values.view("<f4") if column == "codes" else values).flat[1] = value
    with pytest.raises(NotFinite):
        encode_answer(replace(batch, **{column: values}), OUTPUTS, encoding)


def test_what_is_finite_passes_as_it_is():
    values = np.array([1e38, -0.0], np.float32)
    assert finite(values) is values
