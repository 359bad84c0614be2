"""From a model's raw outputs to the columns of an `EmbeddingBatch`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedder.encoders.encoder import Encoded
from embedder.model.tokens import SpecialTokens
from m3.codec import decode_tokens, encode_tokens
from m3.types import (
    F32,
    I32,
    I64,
    U8,
    Codec,
    Dense,
    EmbeddingBatch,
    ModelInfo,
    Output,
    offsets_of,
)

_NO_IDS = np.zeros(0, np.int32)
_NO_WEIGHTS = np.zeros(0, np.float32)
_NO_CODES = np.zeros((0, 0), np.uint8)

Lexical: TypeAlias = tuple[I64, I32, F32]
"""The columns `sparse_offsets`, `sparse_ids` and `sparse_weights`."""


@dataclass(frozen=True, slots=True)
class Raw:
    """What an engine computed for n texts of T tokens in all; None for what was not asked for.

    Attributes:
        finite: [T] bool, whether all that was computed for a token is finite.
        dense: [n, d], normalised, in the codec's `dense_dtype`.
        weights: [T] fp32 ≥ 0, before special tokens are dropped and repeated ones merged.
        codes: [T - n, width] uint8, every token of every text but its first, as the codec writes.
    """

    finite: NDArray[np.bool_]
    dense: Dense | None = None
    weights: F32 | None = None
    codes: U8 | None = None


def finish(
    raw: Raw,
    token_ids: Sequence[Sequence[int]],
    info: ModelInfo,
    special: SpecialTokens,
    codec: Codec,
) -> Encoded:
    """The batch in `codec`, and the texts of which a value is not finite."""
    lexical = lexical_columns(raw.weights, token_ids, special) if raw.weights is not None else None
    starts = offsets_of([len(ids) for ids in token_ids])[:-1]
    fit = np.logical_and.reduceat(raw.finite, starts)
    batch = _batch(token_ids, info, codec, dense=raw.dense, lexical=lexical, codes=raw.codes)
    return Encoded(batch, frozenset(np.flatnonzero(~fit).tolist()))


def lexical_columns(
    weights: F32, token_ids: Sequence[Sequence[int]], special: SpecialTokens
) -> Lexical:
    """Token weights to lexical terms, as FlagEmbedding has them.

    Special tokens and weights ≤ 0 are dropped; a token that occurs again keeps its largest
    weight; terms stand in the order of their ids.

    Args:
        weights: [T] fp32, one for each token of all texts.
    """
    text = np.repeat(np.arange(len(token_ids)), [len(ids) for ids in token_ids])
    ids = _flat(token_ids)
    kept = (weights > 0) & ~np.isin(ids, special.as_tuple())
    text, ids, weights = text[kept], ids[kept], weights[kept]
    order = np.lexsort((ids, text))
    text, ids, weights = text[order], ids[order], weights[order]
    first = np.ones(len(ids), np.bool_)
    first[1:] = (ids[1:] != ids[:-1]) | (text[1:] != text[:-1])
    starts = np.flatnonzero(first)
    largest = np.maximum.reduceat(weights, starts) if len(starts) else weights
    terms = np.bincount(text[starts], minlength=len(token_ids))
    return offsets_of(terms.tolist()), ids[starts], largest


def assemble(
    token_ids: Sequence[Sequence[int]],
    info: ModelInfo,
    *,
    dense: F32 | None = None,
    lexical: Lexical | None = None,
    colbert: F32 | None = None,
) -> EmbeddingBatch:
    """An fp32 batch of the columns that are there.

    Args:
        dense: [n, d].
        colbert: [T - n, d]: every token of every text but its first.
    """
    codes = encode_tokens(colbert, Codec.FP32) if colbert is not None else None
    return _batch(token_ids, info, Codec.FP32, dense=dense, lexical=lexical, codes=codes)


def _batch(
    token_ids: Sequence[Sequence[int]],
    info: ModelInfo,
    codec: Codec,
    *,
    dense: Dense | None,
    lexical: Lexical | None,
    codes: U8 | None,
) -> EmbeddingBatch:
    n = len(token_ids)
    read: list[Sequence[int]] = [ids[1:] for ids in token_ids] if codes is not None else [()] * n
    offsets, ids, weights = lexical or (np.zeros(n + 1, np.int64), _NO_IDS, _NO_WEIGHTS)
    return EmbeddingBatch(
        dense=dense if dense is not None else np.zeros((n, 0), codec.dense_dtype),
        sparse_offsets=offsets,
        sparse_ids=ids,
        sparse_weights=weights,
        token_offsets=offsets_of([len(ids) for ids in read]),
        token_ids=_flat(read),
        codes=codes if codes is not None else _NO_CODES,
        tokens=np.array([len(ids) for ids in token_ids], np.int32),
        truncated=np.zeros(n, np.bool_),
        codec=codec,
        model=info.id,
        fingerprint=info.fingerprint,
    )


def select(batch: EmbeddingBatch, outputs: Collection[Output]) -> EmbeddingBatch:
    """The batch with the columns of other outputs emptied."""
    n = len(batch)
    nowhere = np.zeros(n + 1, np.int64)
    if "dense" not in outputs:
        batch = replace(batch, dense=np.zeros((n, 0), batch.dense.dtype))
    if "sparse" not in outputs:
        batch = replace(
            batch,
            sparse_offsets=nowhere,
            sparse_ids=_NO_IDS,
            sparse_weights=_NO_WEIGHTS,
        )
    if "colbert" not in outputs:
        batch = replace(batch, token_offsets=nowhere, token_ids=_NO_IDS, codes=_NO_CODES)
    return batch


def convert(batch: EmbeddingBatch, codec: Codec) -> EmbeddingBatch:
    """An fp32 batch as `codec` writes it."""
    if codec is Codec.FP32:
        return batch
    tokens = decode_tokens(batch.codes, Codec.FP32)
    return replace(
        batch,
        dense=batch.dense.astype(codec.dense_dtype),
        codes=encode_tokens(tokens, codec) if len(tokens) else batch.codes,
        codec=codec,
    )


def _flat(token_ids: Sequence[Sequence[int]]) -> I32:
    return np.fromiter(chain.from_iterable(token_ids), np.int32)
