"""All three scores of one query against many passages, exact on their stored vectors."""

from __future__ import annotations

import numpy as np

from m3.codec import decode_tokens
from m3.types import F32, Codec, EmbeddingBatch, Passages, Representation, batch_of
from scoring.codes import Apart, Codes, Together
from scoring.maxsim import maxsim


def all_scores(query: Representation, passages: Passages) -> F32:
    """[n, 3] fp32: dense, sparse and ColBERT score of each passage.

    A row's bits do not depend on the other rows, so that equal passages tie.
    """
    return np.column_stack([first_scores(query, passages), colbert_scores(query, passages)])


def first_scores(query: Representation, passages: Passages) -> F32:
    """[n, 2] fp32: dense and sparse score of each passage."""
    if not isinstance(passages, EmbeddingBatch):
        passages = batch_of(passages, colbert=False)
    return np.stack([_dense_scores(query, passages), _sparse_scores(query, passages)], axis=1)


def colbert_scores(
    query: Representation, passages: Passages, start: int = 0, stop: int | None = None
) -> F32:
    """[stop - start] fp32: ColBERT score of each of these passages, whose codes are read in place.

    Raises:
        Corrupt: codes that do not fit their offsets or the query.
    """
    codes, codec = _codes(passages, start, len(passages) if stop is None else stop)
    return maxsim(decode_tokens(query.codes, query.codec), codes, codec)


def _codes(passages: Passages, start: int, stop: int) -> tuple[Codes, Codec]:
    if isinstance(passages, EmbeddingBatch):
        return Together(passages.codes, passages.code_offsets[start : stop + 1]), passages.codec
    return Apart([row.codes for row in passages[start:stop]]), passages[0].codec


def _dense_scores(query: Representation, passages: EmbeddingBatch) -> F32:
    # Row by row: the rounding of a matrix-vector product depends on the number of rows.
    dense = passages.dense.astype(np.float32, copy=False)
    return np.vecdot(dense, query.dense.astype(np.float32))


def _sparse_scores(query: Representation, passages: EmbeddingBatch) -> F32:
    if not len(query.sparse_ids) or not len(passages.sparse_ids):
        return np.zeros(len(passages), np.float32)
    slots = np.searchsorted(query.sparse_ids, passages.sparse_ids)
    slots = np.minimum(slots, len(query.sparse_ids) - 1)
    shared = query.sparse_ids[slots] == passages.sparse_ids
    rows = np.repeat(np.arange(len(passages)), np.diff(passages.sparse_offsets))
    products = query.sparse_weights[slots[shared]] * passages.sparse_weights[shared]
    return np.bincount(rows[shared], products, minlength=len(passages)).astype(np.float32)
