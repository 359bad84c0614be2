"""An `EmbeddingBatch` as JSON, for those who read no binary."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson

from m3.codec import decode_tokens
from m3.types import EmbeddingBatch, Output


def encode_answer(batch: EmbeddingBatch, outputs: Collection[Output]) -> bytes:
    """The JSON that `/v1/encode` answers and `schemas.EncodeAnswer` describes."""
    answer = {
        "model": batch.model,
        "fingerprint": batch.fingerprint,
        "data": [_embedding(batch, i, outputs) for i in range(len(batch))],
        "usage": {"total_tokens": int(batch.tokens.sum())},
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _embedding(batch: EmbeddingBatch, index: int, outputs: Collection[Output]) -> dict[str, Any]:
    row = batch.row(index)
    item: dict[str, Any] = {
        "index": index,
        "tokens": int(batch.tokens[index]),
        "truncated": bool(batch.truncated[index]),
    }
    if "dense" in outputs:
        item["dense"] = row.dense
    if "sparse" in outputs:
        item["sparse"] = {"indices": row.sparse_ids, "values": row.sparse_weights}
    if "colbert" in outputs:
        item["colbert"] = decode_tokens(row.codes, batch.codec)
    return item
