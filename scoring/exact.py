"""All three scores of one query against many passages, exact on their stored vectors."""

from __future__ import annotations

import numpy as np

from m3.codec import decode_tokens
from m3.types import F32, EmbeddingBatch, Representation
from scoring.maxsim import maxsim


def all_scores(query: Representation, passages: EmbeddingBatch) -> F32:
    """[n, 3] fp32: dense, sparse and ColBERT score of each passage.

    A row's bits do not depend on the other rows, so that equal passages tie.
    """
    return np.column_stack([first_scores(query, passages), colbert_scores(query, passages)])


def first_scores(query: Representation, passages: EmbeddingBatch) -> F32:
    """[n, 2] fp32: dense and sparse score of each passage."""
    return np.stack([_dense_scores(query, passages), _sparse_scores(query, passages)], axis=1)


def colbert_scores(
    query: Representation, passages: EmbeddingBatch, start: int = 0, stop: int | None = None
) -> F32:
    """[stop - start] fp32: ColBERT score of each of these passages."""
    offsets = passages.code_offsets[start : len(passages) + 1 if stop is None else stop + 1]
    return maxsim(
        decode_tokens(query.codes, query.codec),
        passages.codes[offsets[0] : offsets[-1]],
        offsets - offsets[0],
        passages.codec,
    )


def _dense_scores(query: Representation, passages: EmbeddingBatch) -> F32:
    # Row by row: the rounding of a matrix-vector product depends on the number of rows.
    return np.vecdot(passages.dense.astype(np.float32), query.dense.astype(np.float32))


def _sparse_scores(query: Representation, passages: EmbeddingBatch) -> F32:
    if not len(query.sparse_ids) or not len(passages.sparse_ids):
        return np.zeros(len(passages), np.float32)
    slots = np.searchsorted(query.sparse_ids, passages.sparse_ids)
    slots = np.minimum(slots, len(query.sparse_ids) - 1)
    shared = query.sparse_ids[slots] == passages.sparse_ids
    rows = np.repeat(np.arange(len(passages)), np.diff(passages.sparse_offsets))
    products = query.sparse_weights[slots[shared]] * passages.sparse_weights[shared]
    return np.bincount(rows[shared], products, minlength=len(passages)).astype(np.float32)
