"""From a model's raw outputs to the columns of an `EmbeddingBatch`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embedder.tokens import SpecialTokens
from m3.codec import decode_tokens, encode_tokens
from m3.types import F32, I32, I64, Codec, EmbeddingBatch, ModelInfo, Output, offsets_of


def lexical_columns(
    weights: F32, ids: I32, lengths: Sequence[int], special: SpecialTokens
) -> tuple[I64, I32, F32]:
    """Token weights to lexical terms, as FlagEmbedding has them.

    Special tokens and weights ≤ 0 are dropped; a token that occurs again keeps its largest
    weight; terms stand in the order of their ids.

    Args:
        weights: [T] fp32, after the ReLU; ids: [T] int32, of n texts one after the other.

    Returns:
        The columns `sparse_offsets`, `sparse_ids`, `sparse_weights`.
    """
    text = np.repeat(np.arange(len(lengths)), lengths)
    kept = (weights > 0) & ~np.isin(ids, special.as_tuple())
    ids, weights, text = ids[kept], weights[kept], text[kept]
    order = np.lexsort((ids, text))
    ids, weights, text = ids[order], weights[order], text[order]
    is_first = np.ones(len(ids), np.bool_)
    is_first[1:] = (ids[1:] != ids[:-1]) | (text[1:] != text[:-1])
    starts = np.flatnonzero(is_first)
    largest = np.maximum.reduceat(weights, starts) if len(starts) else weights
    counts = np.bincount(text[starts], minlength=len(lengths))
    return offsets_of(counts.tolist()), ids[starts], largest


def convert(batch: EmbeddingBatch, codec: Codec) -> EmbeddingBatch:
    """An fp32 batch as `codec` writes it."""
    if codec is Codec.FP32:
        return batch
    return replace(
        batch,
        dense=batch.dense.astype(codec.dense_dtype),
        codes=encode_tokens(decode_tokens(batch.codes, Codec.FP32), codec),
        codec=codec,
    )


def assemble(
    token_ids: Sequence[Sequence[int]],
    outputs: Collection[Output],
    info: ModelInfo,
    *,
    dense: F32 | None,
    lexical: tuple[I64, I32, F32] | None,
    colbert: F32 | None,
) -> EmbeddingBatch:
    """An fp32 batch of the columns that are there.

    Args:
        dense: [n, d]; lexical: as `lexical_columns` gives it.
        colbert: [T - n, d], every token of every text but its first.
    """
    n = len(token_ids)
    lengths = [len(ids) for ids in token_ids]
    if lexical is None or "sparse" not in outputs:
        lexical = np.zeros(n + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)
    if dense is None or "dense" not in outputs:
        dense = np.zeros((n, 0), np.float32)
    has_tokens = colbert is not None and "colbert" in outputs
    vectors = colbert if colbert is not None and has_tokens else np.zeros((0, 0), np.float32)
    read: list[NDArray[np.int32]] = [
        np.asarray(ids[1:] if has_tokens else [], np.int32) for ids in token_ids
    ]
    offsets, ids, weights = lexical
    return EmbeddingBatch(
        dense=dense,
        sparse_offsets=offsets,
        sparse_ids=ids,
        sparse_weights=weights,
        token_offsets=offsets_of([len(ids) for ids in read]),
        token_ids=np.concatenate(read),
        codes=encode_tokens(vectors, Codec.FP32),
        tokens=np.array(lengths, np.int32),
        truncated=np.zeros(n, np.bool_),
        codec=Codec.FP32,
        model=info.id,
        fingerprint=info.fingerprint,
    )
