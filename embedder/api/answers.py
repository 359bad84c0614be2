"""An `EmbeddingBatch` as JSON, for those who read no binary."""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from embedder.api.schemas import Encoding
from m3.codec import decode_tokens
from m3.errors import NotFinite
from m3.types import Dense, EmbeddingBatch, Output

Real = TypeVar("Real", bound=NDArray[np.floating[Any]])


def encode_answer(
    batch: EmbeddingBatch, outputs: Collection[Output], encoding: Encoding = "float"
) -> bytes:
    """The JSON that `/v1/encode` answers and `schemas.EncodeAnswer` describes.

    Raises:
        NotFinite: a value that is not finite, which JSON has no word for.
    """
    answer = {
        "model": batch.model,
        "fingerprint": batch.fingerprint,
        "data": [_embedding(batch, i, outputs, encoding) for i in range(len(batch))],
        "usage": {"total_tokens": int(batch.tokens.sum())},
    }
    return dumps(answer)


def vector(values: Dense, encoding: Encoding) -> NDArray[Any] | str:
    """[…, d] for `dumps`: itself, or its little-endian values in base64, row after row.

    Raises:
        NotFinite: a value that is not finite.
    """
    values = finite(values)
    if encoding == "float":
        return values
    dtype = "<f4" if encoding == "base64" else "<f2"
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")


def finite(values: Real) -> Real:
    """The values. Raises NotFinite where one is not finite: orjson would write null."""
    if not np.isfinite(values).all():
        raise NotFinite("the model computed values that are not finite")
    return values


def dumps(answer: Any) -> bytes:
    """JSON of values that may be arrays; `finite` must have seen those."""
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _embedding(
    batch: EmbeddingBatch, index: int, outputs: Collection[Output], encoding: Encoding
) -> dict[str, Any]:
    row = batch.row(index)
    item: dict[str, Any] = {
        "index": index,
        "tokens": int(batch.tokens[index]),
        "truncated": bool(batch.truncated[index]),
    }
    if "dense" in outputs:
        item["dense"] = vector(row.dense, encoding)
    if "sparse" in outputs:
        item["sparse"] = {"indices": row.sparse_ids, "values": finite(row.sparse_weights)}
    if "colbert" in outputs:
        item["colbert"] = vector(decode_tokens(row.codes, batch.codec), encoding)
    return item
