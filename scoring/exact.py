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
    return np.stack(
        [
            _dense_scores(query, passages),
            _sparse_scores(query, passages),
            maxsim(
                decode_tokens(query.codes, query.codec),
                passages.codes,
                passages.token_offsets,
                passages.codec,
            ),
        ],
        axis=1,
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
