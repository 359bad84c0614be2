"""Round trips of the binary form, its losses, and its refusal of what it did not write."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from m3.codec import (
    VERSION,
    decode_tokens,
    dimension,
    encode_tokens,
    from_bytes,
    split_int8,
    to_bytes,
    width,
)
from m3.errors import Corrupt, NewerFormat, StoredDataError
from m3.types import Codec, EmbeddingBatch, batch_of
from tests.m3.strategies import batches, codecs, dimensions, unit_vectors

vectors = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 5), st.sampled_from((64, 96))),
    elements=st.floats(-4, 4, width=32),
)
some_batches = st.builds(lambda d, c: (d, c), st.sampled_from((64, 128)), codecs).flatmap(
    lambda shape: batches(*shape, max_size=4, max_tokens=6)
)

COLUMNS = ("dense", "sparse_offsets", "sparse_ids", "sparse_weights", "token_offsets")
COLUMNS += ("token_ids", "codes", "tokens", "truncated")


@given(vectors)
def test_fp32_is_lossless(values: np.ndarray) -> None:
    assert np.array_equal(decode_tokens(encode_tokens(values, Codec.FP32), Codec.FP32), values)


@given(vectors)
def test_bf16_rounds_to_the_nearest(values: np.ndarray) -> None:
    import torch

    expected = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    assert np.array_equal(decode_tokens(encode_tokens(values, Codec.BF16), Codec.BF16), expected)


@given(vectors)
def test_int8_is_within_half_a_step(values: np.ndarray) -> None:
    codes = encode_tokens(values, Codec.INT8)
    steps = np.abs(values).max(axis=1, initial=0) / 127
    error = np.abs(decode_tokens(codes, Codec.INT8) - values).max(axis=1, initial=0)
    assert (error <= steps * 0.5001 + 1e-30).all()
    assert np.array_equal(split_int8(codes)[1], steps.astype(np.float32))


@given(dimensions, codecs, st.integers(0, 3))
def test_width_is_what_encoding_takes(size: int, codec: Codec, tokens: int) -> None:
    codes = encode_tokens(np.zeros((tokens, size), np.float32), codec)
    assert codes.shape == (tokens, width(size, codec))
    assert codes.dtype == np.uint8
    assert dimension(codes.shape[1], codec) == size


@pytest.mark.parametrize("codec", Codec)
def test_zero_and_extreme_vectors(codec: Codec) -> None:
    values = np.zeros((3, 64), np.float32)
    values[1] = 1
    values[2, :2] = (1, -1)
    decoded = decode_tokens(encode_tokens(values, codec), codec)
    np.testing.assert_allclose(decoded, values, rtol=1e-6)


@given(some_batches)
def test_a_batch_survives_the_wire(batch: EmbeddingBatch) -> None:
    read = from_bytes(to_bytes(batch))
    for column in COLUMNS:
        before, after = getattr(batch, column), getattr(read, column)
        assert before.dtype == after.dtype
        assert np.array_equal(before, after), column
    assert (read.codec, read.model, read.fingerprint) == (batch.codec, "", "")


def test_names_survive_the_wire() -> None:
    batch = _batch(model="BAAI/bge-m3", fingerprint="0123abcd")
    read = from_bytes(to_bytes(batch))
    assert (read.model, read.fingerprint) == ("BAAI/bge-m3", "0123abcd")


@given(some_batches)
def test_rows_make_the_batch_again(batch: EmbeddingBatch) -> None:
    again = batch_of(list(batch), tokens=batch.tokens, truncated=batch.truncated)
    assert again.codec is batch.codec
    for column in COLUMNS:
        assert np.array_equal(getattr(again, column), getattr(batch, column)), column


@given(some_batches, st.data())
@settings(max_examples=200)
def test_damage_is_refused_or_harmless(batch: EmbeddingBatch, data: st.DataObject) -> None:
    """Whatever comes back from damaged bytes, every row of it can be taken."""
    damaged = bytearray(to_bytes(batch))
    header = 8 + int.from_bytes(damaged[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        reach = data.draw(st.sampled_from((8, header, len(damaged))))
        damaged[data.draw(st.integers(0, reach - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    _read_or_refuse(bytes(damaged[:end]))


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(Corrupt):
        from_bytes(noise)


def _read_or_refuse(damaged: bytes) -> None:
    try:
        batch = from_bytes(damaged)
    except StoredDataError:
        return
    for row in batch:
        assert len(row.sparse_ids) == len(row.sparse_weights)
        assert len(row.token_ids) == len(row.codes)
        decode_tokens(row.codes, row.codec)


def test_reading_copies_no_codes() -> None:
    written = to_bytes(_batch())
    codes = from_bytes(written).codes
    assert np.shares_memory(codes, np.frombuffer(written, np.uint8))
    assert not codes.flags.writeable


def test_a_newer_version_is_refused() -> None:
    written = to_bytes(_batch())
    newer = written.replace(b'"version":"%d"' % VERSION, b'"version":"%d"' % (VERSION + 1))
    assert newer != written
    with pytest.raises(NewerFormat, match="upgrade"):
        from_bytes(newer)


def test_another_format_is_refused() -> None:
    written = to_bytes(_batch())
    with pytest.raises(Corrupt, match="not an embedding batch"):
        from_bytes(written.replace(b"m3.embeddings", b"x3.embeddings"))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("dense", np.zeros((2, 64), np.float32)),
        ("dense", np.zeros((3, 64), np.float16)),
        ("dense", np.zeros((2, 65), np.float16)),
        ("sparse_offsets", np.array([0, 2, 1])),
        ("sparse_offsets", np.array([0, 3, 2])),
        ("sparse_offsets", np.array([1, 1, 2])),
        ("sparse_offsets", np.array([0, 2])),
        ("sparse_ids", np.array([1, 2, 3], np.int32)),
        ("sparse_ids", np.array([1, 2], np.int64)),
        ("token_offsets", np.array([0, 1, 4])),
        ("token_ids", np.array([1], np.int32)),
        ("codes", np.zeros((3, 68), np.int8)),
        ("codes", np.zeros((3, 2), np.uint8)),
        ("codes", np.zeros(204, np.uint8)),
        ("tokens", np.array([1, 2, 3], np.int32)),
        ("truncated", np.array([False])),
    ],
)
def test_columns_that_do_not_fit_are_refused(column: str, value: np.ndarray) -> None:
    with pytest.raises(Corrupt):
        from_bytes(_with_column(column, value))


def test_a_missing_column_is_refused() -> None:
    with pytest.raises(Corrupt, match="codes"):
        from_bytes(_with_column("codes", None))


def _batch(model: str = "", fingerprint: str = "") -> EmbeddingBatch:
    rng = np.random.default_rng(0)
    return EmbeddingBatch(
        dense=unit_vectors(rng, 2, 64).astype(np.float16),
        sparse_offsets=np.array([0, 1, 2]),
        sparse_ids=np.array([3, 9], np.int32),
        sparse_weights=np.array([0.5, 0.1], np.float32),
        token_offsets=np.array([0, 1, 3]),
        token_ids=np.array([7, 8, 9], np.int32),
        codes=encode_tokens(unit_vectors(rng, 3, 64), Codec.INT8),
        tokens=np.array([2, 4], np.int32),
        truncated=np.array([False, True]),
        codec=Codec.INT8,
        model=model,
        fingerprint=fingerprint,
    )


def _with_column(name: str, value: np.ndarray | None) -> bytes:
    """The batch's file with one tensor replaced or taken out, its header otherwise kept."""
    from safetensors.numpy import load, save

    written = to_bytes(_batch())
    length = int.from_bytes(written[:8], "little")
    metadata = orjson.loads(written[8 : 8 + length])["__metadata__"]
    columns = load(written)
    del columns[name]
    if value is not None:
        columns[name] = value
    return save(columns, metadata=metadata)
