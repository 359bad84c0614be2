"""Every candidate gets all three exact scores from its row; the fused one ranks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from m3.types import Representation
from scoring.exact import all_scores
from scoring.fusion import Weights, fuse, ranked
from search.response import Scores
from store.contract import Rows, StoredChunk


@dataclass(frozen=True, slots=True)
class Scored:
    """A candidate with its fused score and what that is made of."""

    chunk: StoredChunk
    embedding: Representation
    score: float
    scores: Scores


def rerank(
    query: Representation, candidates: Rows, weights: Weights, page: slice
) -> Sequence[Scored]:
    """A page of the candidates: best first, equal scores in the order of their ids."""
    if candidates.embeddings is None:
        return []
    scores = all_scores(query, candidates.embeddings)
    fused = fuse(scores, weights)
    order = ranked(fused, [chunk.id for chunk in candidates.chunks])
    return [
        Scored(
            chunk=candidates.chunks[row],
            embedding=candidates.embeddings.row(row),
            score=float(fused[row]),
            scores=Scores(*scores[row].tolist()),
        )
        for row in order[page]
    ]
