"""Every candidate gets all three exact scores from its row; the fused one ranks it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from m3.types import F32, Representation
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


@dataclass(frozen=True, slots=True)
class ScoredCandidates:
    """Candidates of one query with their exact scores: any weights rank them.

    Attributes:
        scores: [n, 3] fp32, dense, sparse and ColBERT of row i.
    """

    rows: Rows
    scores: F32

    def page(
        self, weights: Weights, page: slice, among: Collection[int] | None = None
    ) -> Sequence[Scored]:
        """Best first, equal scores in the order of their ids.

        Args:
            among: ids of the rows to rank; None: all.
        """
        if self.rows.embeddings is None:
            return []
        kept = [
            i for i, chunk in enumerate(self.rows.chunks) if among is None or chunk.row in among
        ]
        fused = fuse(self.scores[kept], weights)
        order = ranked(fused, [self.rows.chunks[i].id for i in kept])
        return [
            Scored(
                chunk=self.rows.chunks[kept[place]],
                embedding=self.rows.embeddings.row(kept[place]),
                score=float(fused[place]),
                scores=Scores(*self.scores[kept[place]].tolist()),
            )
            for place in order[page]
        ]


def score(query: Representation, candidates: Rows) -> ScoredCandidates:
    """All three exact scores of every candidate."""
    if candidates.embeddings is None:
        return ScoredCandidates(candidates, np.zeros((0, 3), np.float32))
    return ScoredCandidates(candidates, all_scores(query, candidates.embeddings))
