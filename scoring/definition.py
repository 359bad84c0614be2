"""The three scores and their fusion, in plain numpy: what every fast path is held against.

As FlagEmbedding 1.4.2 defines them (`inference/embedder/encoder_only/m3.py`) for one pair
alone: there, a padded batch floors the ColBERT maximum at 0 for its shorter texts; here a
score never depends on what it was computed with.
"""

from __future__ import annotations

import numpy as np

from m3.codec import decode_tokens
from m3.types import F32, I32, Dense, Representation


def dense_score(query: Dense, passage: Dense) -> float:
    """Inner product of two [d] vectors; the cosine, as both are normalised."""
    return float(query.astype(np.float32) @ passage.astype(np.float32))


def sparse_score(
    query_ids: I32, query_weights: F32, passage_ids: I32, passage_weights: F32
) -> float:
    """Σ over shared terms of the product of their weights; 0 where none is shared."""
    passage = dict(zip(passage_ids.tolist(), passage_weights.tolist(), strict=True))
    pairs = zip(query_ids.tolist(), query_weights.tolist(), strict=True)
    return sum(weight * passage.get(term, 0.0) for term, weight in pairs)


def colbert_score(query: F32, passage: F32) -> float:
    """Mean over the query's tokens [m, d] of the maximum over the passage's [n, d].

    A text without a token vector scores 0.
    """
    if not len(query) or not len(passage):
        return 0.0
    return float((query @ passage.T).max(axis=1).mean())


def fused_score(scores: tuple[float, float, float], weights: tuple[float, float, float]) -> float:
    """Σwᵢsᵢ / Σwᵢ over dense, sparse, ColBERT."""
    return sum(w * s for w, s in zip(weights, scores, strict=True)) / sum(weights)


def scores(query: Representation, passage: Representation) -> tuple[float, float, float]:
    """Dense, sparse and ColBERT score of one pair, on the vectors as stored."""
    return (
        dense_score(query.dense, passage.dense),
        sparse_score(
            query.sparse_ids, query.sparse_weights, passage.sparse_ids, passage.sparse_weights
        ),
        colbert_score(
            decode_tokens(query.codes, query.codec), decode_tokens(passage.codes, passage.codec)
        ),
    )
