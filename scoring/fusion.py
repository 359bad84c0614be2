"""Which scores a method uses, how they are fused, and how hits are ordered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from m3.codec import decode_tokens
from m3.errors import InvalidInput
from m3.types import F32, EmbeddingBatch, Representation
from scoring.maxsim import maxsim


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each score counts; only their ratios matter."""

    dense: float
    sparse: float
    colbert: float

    def __post_init__(self) -> None:
        values = self.as_tuple()
        if not all(math.isfinite(value) for value in values):
            raise InvalidInput("weights must be finite numbers")
        if min(values) < 0:
            raise InvalidInput(f"weights must not be negative, got {values}")
        if sum(values) == 0:
            raise InvalidInput("at least one weight must be above zero")

    def as_tuple(self) -> tuple[float, float, float]:
        return (self.dense, self.sparse, self.colbert)


class Method(StrEnum):
    """How hits are scored. Every method but `dense` and `sparse` scores the union of both legs."""

    DENSE = "dense"
    SPARSE = "sparse"
    COLBERT = "colbert"
    DENSE_SPARSE = "dense+sparse"
    FUSION = "fusion"


METHOD_WEIGHTS: Mapping[Method, Weights] = {
    Method.DENSE: Weights(1, 0, 0),
    Method.SPARSE: Weights(0, 1, 0),
    Method.COLBERT: Weights(0, 0, 1),
    Method.DENSE_SPARSE: Weights(1, 0.3, 0),
    Method.FUSION: Weights(1, 0.3, 1),
}

PRESETS: Mapping[str, Weights] = {
    "model-card": Weights(0.4, 0.2, 0.4),
    "mkqa": Weights(1, 0.3, 1),
    "mldr": Weights(0.15, 0.5, 0.35),
}
"""Weights that BGE-M3's authors publish, by where they use them."""


def all_scores(query: Representation, passages: EmbeddingBatch) -> F32:
    """[n, 3] fp32: dense, sparse and ColBERT score of each passage, exact on its stored vectors."""
    return np.stack(
        [
            passages.dense.astype(np.float32) @ query.dense.astype(np.float32),
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


def _sparse_scores(query: Representation, passages: EmbeddingBatch) -> F32:
    if not len(query.sparse_ids) or not len(passages.sparse_ids):
        return np.zeros(len(passages), np.float32)
    slots = np.searchsorted(query.sparse_ids, passages.sparse_ids)
    slots = np.minimum(slots, len(query.sparse_ids) - 1)
    shared = query.sparse_ids[slots] == passages.sparse_ids
    rows = np.repeat(np.arange(len(passages)), np.diff(passages.sparse_offsets))
    products = query.sparse_weights[slots[shared]] * passages.sparse_weights[shared]
    return np.bincount(rows[shared], products, minlength=len(passages)).astype(np.float32)


def fuse(scores: F32, weights: Weights) -> F32:
    """[n] fp32: Σwᵢsᵢ / Σwᵢ over the columns of `scores` [n, 3]."""
    w = np.array(weights.as_tuple(), np.float64)
    return (scores.astype(np.float64) @ w / w.sum()).astype(np.float32)


def ranked(scores: F32, ids: Sequence[str]) -> list[int]:
    """Row numbers, best score first, equal scores in the order of their ids."""
    return sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))
