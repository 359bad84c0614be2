"""The three scores of passages for a query, and their fusion, as a table has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from m3.types import F32, EmbeddingBatch, Representation
from scoring.exact import all_scores
from scoring.fusion import Weights, fuse, ranked


@dataclass(frozen=True, slots=True)
class Row:
    """One passage and its scores."""

    passage: str
    dense: float
    sparse: float
    colbert: float
    fused: float


def score(query: Representation, passages: EmbeddingBatch) -> F32:
    """[n, 3] fp32: dense, sparse, ColBERT."""
    return all_scores(query, passages)


def table(passages: Sequence[str], scores: F32, weights: Weights) -> list[Row]:
    """Best fused score first; equal ones in the order they were given.

    Args:
        scores: [n, 3] fp32: dense, sparse, ColBERT of each passage.
    """
    fused = fuse(scores, weights)
    order = ranked(fused, [f"{i:09}" for i in range(len(passages))])
    values = scores.tolist()
    return [Row(passages[i], *values[i], fused=float(fused[i])) for i in order]
