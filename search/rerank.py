"""Every candidate gets all three exact scores from its row; they rank it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m3.types import F32, Representation
from scoring.exact import all_scores
from search.ranking import Place, Rank, by_document, places, reciprocal_ranks, weighted
from search.request import SearchRequest
from store.contract import Leg, Rows


@dataclass(frozen=True, slots=True)
class ScoredCandidates:
    """Candidates of one query with their exact scores: any request of their legs ranks them.

    Attributes:
        scores: [n, 3] fp32, dense, sparse and ColBERT of row i.
        legs: what each leg found, row ids.
    """

    rows: Rows
    scores: F32
    legs: Mapping[Leg, Sequence[int]]

    def ranking(self, request: SearchRequest) -> Sequence[Place]:
        """What the request's own legs found, all of it, as it asks."""
        legs: dict[Leg, set[int]] = {leg: set(self.legs[leg]) for leg in request.legs}
        found = set[int]().union(*legs.values())
        kept = [i for i, chunk in enumerate(self.rows.chunks) if chunk.row in found]
        if not kept:
            return []
        chunks, scores = [self.rows.chunks[i] for i in kept], self.scores[kept]
        if request.rank is Rank.RRF:
            among: dict[Leg, list[int]] = {
                leg: [i for i, chunk in enumerate(chunks) if chunk.row in ids]
                for leg, ids in legs.items()
            }
            fused, shares = reciprocal_ranks(scores, [chunk.id for chunk in chunks], among)
        else:
            fused, shares = weighted(scores, request.scoring_weights)
        ordered = places(chunks, scores, fused, shares, request.min_score)
        return by_document(ordered) if request.group_by else ordered


def score(
    query: Representation, candidates: Rows, legs: Mapping[Leg, Sequence[int]]
) -> ScoredCandidates:
    """All three exact scores of every candidate."""
    if candidates.embeddings is None:
        return ScoredCandidates(candidates, np.zeros((0, 3), np.float32), legs)
    return ScoredCandidates(candidates, all_scores(query, candidates.embeddings), legs)
