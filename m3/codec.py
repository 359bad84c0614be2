"""The one binary form: ColBERT codes of a row, and an `EmbeddingBatch` on the wire.

Codes are [tokens, width] uint8, one row a token vector of d dimensions:

    int8   d signed bytes, then their fp32 scale (little-endian); v = code * scale; width d + 4
    bf16   the upper half of each fp32, little-endian; width 2 d
    fp32   as it is, little-endian; width 4 d

A batch is a safetensors file whose tensors are the batch's columns. A row of the table
keeps its slice of them, so that nothing is encoded twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from safetensors.numpy import save

from m3.errors import Corrupt, NewerFormat
from m3.types import F32, U8, Codec, EmbeddingBatch

FORMAT = "m3.embeddings"
VERSION = 1
MEDIA_TYPE = "application/vnd.m3.embeddings"

_SCALE_BYTES = 4
_INT8_MAX = 127
COLUMNS = (
    "dense",
    "sparse_offsets",
    "sparse_ids",
    "sparse_weights",
    "token_offsets",
    "token_ids",
    "codes",
    "tokens",
    "truncated",
)
"""An `EmbeddingBatch`'s arrays, in the order they are written in."""

_DTYPES = {
    "F16": np.float16,
    "F32": np.float32,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
"""By safetensors' names, what columns may be."""


def width(dimension: int, codec: Codec) -> int:
    """Bytes one token vector takes."""
    match codec:
        case Codec.INT8:
            return dimension + _SCALE_BYTES
        case Codec.BF16:
            return 2 * dimension
        case Codec.FP32:
            return 4 * dimension


def dimension(width: int, codec: Codec) -> int:
    """Dimensions of a token vector of `width` bytes; the opposite of `width`."""
    match codec:
        case Codec.INT8:
            return width - _SCALE_BYTES
        case Codec.BF16:
            return width // 2
        case Codec.FP32:
            return width // 4


def encode_tokens(vectors: F32, codec: Codec) -> U8:
    """[t, d] fp32 -> [t, width] uint8. A zero vector stays zero."""
    vectors = np.ascontiguousarray(vectors, dtype="<f4")
    match codec:
        case Codec.FP32:
            return vectors.view(np.uint8)
        case Codec.BF16:
            return _to_bf16(vectors).view(np.uint8)
        case Codec.INT8:
            return _to_int8(vectors)


def decode_tokens(codes: U8, codec: Codec) -> F32:
    """[t, width] uint8 -> [t, d] fp32: the vectors that scores are defined on."""
    codes = np.ascontiguousarray(codes)
    match codec:
        case Codec.FP32:
            return codes.view("<f4")
        case Codec.BF16:
            return (codes.view("<u2").astype("<u4") << np.uint32(16)).view("<f4")
        case Codec.INT8:
            values, scales = split_int8(codes)
            return values.astype(np.float32) * scales[:, None]


def split_int8(codes: U8) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.int8]], F32]:
    """The int8 values [t, d] (a view) and the scales [t] of int8 codes."""
    values = codes[:, :-_SCALE_BYTES].view(np.int8)
    scales = np.ascontiguousarray(codes[:, -_SCALE_BYTES:]).view("<f4")[:, 0]
    return values, scales


def _to_int8(vectors: F32) -> U8:
    scales = (np.abs(vectors).max(axis=1, initial=0.0) / _INT8_MAX).astype("<f4")
    divisors = np.where(scales > 0, scales, np.float32(1))
    # Clamped before the cast: 127.5 would otherwise round to 128 and wrap to -128.
    values = np.clip(np.rint(vectors / divisors[:, None]), -_INT8_MAX, _INT8_MAX)
    codes = np.empty((len(vectors), vectors.shape[1] + _SCALE_BYTES), np.uint8)
    codes[:, :-_SCALE_BYTES] = values.astype(np.int8).view(np.uint8)
    codes[:, -_SCALE_BYTES:] = scales[:, None].view(np.uint8)
    return codes


def _to_bf16(vectors: F32) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    bits = vectors.view("<u4")
    # Round to nearest, ties to even, as hardware does.
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype("<u2")


def to_bytes(batch: EmbeddingBatch) -> bytes:
    """The batch as a safetensors file.

    Raises:
        ValueError: it is pooled, which nodes never answer.
    """
    if batch.pooled is not None:
        raise ValueError("a pooled batch does not travel")
    columns = {name: np.ascontiguousarray(getattr(batch, name)) for name in COLUMNS}
    return save(
        columns,
        metadata={
            "format": FORMAT,
            "version": str(VERSION),
            "codec": batch.codec.value,
            "model": batch.model,
            "fingerprint": batch.fingerprint,
        },
    )


def from_bytes(data: bytes) -> EmbeddingBatch:
    """Read what `to_bytes` wrote, trusting nothing; the columns are views of `data`, read-only.

    Raises:
        Corrupt: not our format, or columns that do not fit each other.
        NewerFormat: a version this code does not know.
    """
    header, body = _split(data)
    metadata = _metadata(header)
    try:
        columns: dict[str, Any] = {name: _column(header[name], body) for name in COLUMNS}
        batch = EmbeddingBatch(
            **columns,
            codec=Codec(metadata["codec"]),
            model=metadata.get("model", ""),
            fingerprint=metadata.get("fingerprint", ""),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Corrupt(f"the embedding batch cannot be read: {error}") from error
    _check(batch)
    return batch


def _split(data: bytes) -> tuple[dict[str, Any], memoryview]:
    """A safetensors file's header, and the bytes that its tensors lie in."""
    end = 8 + int.from_bytes(data[:8], "little")
    try:
        return orjson.loads(memoryview(data)[8:end]), memoryview(data)[end:]
    except ValueError as error:
        raise Corrupt("the embedding batch has no readable header") from error


def _metadata(header: Mapping[str, Any]) -> dict[str, str]:
    """The header's metadata, its format and version checked."""
    try:
        metadata = header["__metadata__"]
        written_by, version = metadata["format"], int(metadata["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt("the embedding batch has no readable header") from error
    if written_by != FORMAT:
        raise Corrupt(f"not an embedding batch: its format is {written_by!r}")
    if version > VERSION:
        raise NewerFormat(f"embedding batch version {version}; this reads up to {VERSION}: upgrade")
    return metadata


def _column(entry: Mapping[str, Any], body: memoryview) -> NDArray[Any]:
    """One tensor where it lies: megabytes of codes are not copied for being read.

    Raises:
        KeyError, TypeError, ValueError, OverflowError: what its entry says cannot be.
    """
    first, end = entry["data_offsets"]
    if not 0 <= first <= end <= len(body):
        raise ValueError(f"bytes {first} to {end} of {len(body)}")
    if any(size < 0 for size in entry["shape"]):
        raise ValueError(f"a shape of {entry['shape']}")
    return np.frombuffer(body[first:end], _DTYPES[entry["dtype"]]).reshape(entry["shape"])


def _check(batch: EmbeddingBatch) -> None:
    """Shapes, dtypes and offsets fit each other, so that a slice can never read past an end."""
    expected = {
        "dense": (batch.codec.dense_dtype, 2),
        "sparse_offsets": (np.int64, 1),
        "sparse_ids": (np.int32, 1),
        "sparse_weights": (np.float32, 1),
        "token_offsets": (np.int64, 1),
        "token_ids": (np.int32, 1),
        "codes": (np.uint8, 2),
        "tokens": (np.int32, 1),
        "truncated": (np.bool_, 1),
    }
    for name, (dtype, ndim) in expected.items():
        column = getattr(batch, name)
        if column.dtype != dtype or column.ndim != ndim:
            raise Corrupt(f"embedding batch: {name} is {column.dtype}[{column.ndim}d]")
    n = len(batch.tokens)
    if len(batch.dense) != n or len(batch.truncated) != n:
        raise Corrupt("embedding batch: its columns differ in length")
    if len(batch.sparse_ids) != len(batch.sparse_weights) or len(batch.token_ids) != len(
        batch.codes
    ):
        raise Corrupt("embedding batch: values and their ids differ in length")
    if len(batch.codes) and not _fits(batch):
        raise Corrupt(f"embedding batch: codes are {batch.codes.shape[1]} bytes wide")
    for offsets, total in (
        (batch.sparse_offsets, len(batch.sparse_ids)),
        (batch.token_offsets, len(batch.token_ids)),
    ):
        if len(offsets) != n + 1 or offsets[0] != 0 or offsets[-1] != total:
            raise Corrupt("embedding batch: offsets do not span their values")
        if np.any(np.diff(offsets) < 0):
            raise Corrupt("embedding batch: offsets run backwards")


def _fits(batch: EmbeddingBatch) -> bool:
    """Whether codes have a width that their codec writes, of the dense vectors' dimension."""
    size = dimension(batch.codes.shape[1], batch.codec)
    dense = batch.dense.shape[1] or size
    return size > 0 and size == dense and width(size, batch.codec) == batch.codes.shape[1]
