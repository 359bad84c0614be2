"""Every candidate gets all three exact scores from its row; they rank it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m3.errors import DeadlineExceeded, M3Error
from m3.types import F32, Passages, Representation
from scoring.exact import colbert_scores, first_scores
from scoring.fusion import F64, METHOD_WEIGHTS, Method, Weights, fuse, ranked
from search.degrade import PARTS, Part, in_order
from search.ranking import Place, Rank, by_document, places, reciprocal_ranks, weighted
from search.request import SearchRequest
from search.response import Staged
from store.candidates import CandidateRows, Leg
from store.chunks import ChunkKey

_AT_ONCE = 64
"""Passages that ColBERT scores between two looks at the clock: some milliseconds."""


@dataclass(frozen=True, slots=True)
class ScoredCandidates:
    """Candidates of one query with their exact scores: any request of their legs ranks them.

    Attributes:
        scores: [n, 3] fp32, dense, sparse and ColBERT of row i; of no meaning for `dropped` ones.
        legs: what each leg found, row ids; those that dropped out are not among them.
        dropped: the parts that the search goes without, and why.
        staged: where not all that was found is to be ranked; `rows` and `legs` have what is.
    """

    rows: CandidateRows
    scores: F32
    legs: Mapping[Leg, Sequence[int]]
    dropped: Mapping[Part, M3Error]
    staged: Staged | None = None

    @property
    def degraded(self) -> tuple[Part, ...]:
        """The parts that dropped out."""
        return in_order(self.dropped)

    def ranking(self, request: SearchRequest, weights: Weights) -> Sequence[Place]:
        """What the request's own legs found, all of it, as it asks, by these weights.

        Raises:
            M3Error: why a part dropped out without which nothing is left that counts.
        """
        legs: dict[Leg, set[int]] = {
            leg: set(self.legs[leg]) for leg in request.legs if leg in self.legs
        }
        found = set[int]().union(*legs.values())
        kept = [i for i, chunk in enumerate(self.rows.chunks) if chunk.row in found]
        if request.rank is Rank.WEIGHTED:
            weights = self._left(weights)
        if not kept:
            return []
        chunks, scores = [self.rows.chunks[i] for i in kept], self.scores[kept]
        if request.rank is Rank.RRF:
            fused, shares = _by_ranks(chunks, scores, legs)
        else:
            fused, shares = weighted(scores, weights)
        lacking = [PARTS.index(part) for part in self.degraded]
        ordered = places(chunks, scores, fused, shares, least=request.min_score, lacking=lacking)
        return by_document(ordered) if request.group_by else ordered

    def _left(self, weights: Weights) -> Weights:
        left = weights.without(self.degraded)
        if left is None:
            raise next(self.dropped[part] for part in self.degraded if getattr(weights, part))
        return left


@dataclass(frozen=True, slots=True)
class Stage:
    """The first of two stages: a choice by dense and sparse scores.

    Attributes:
        depth: how many candidates are chosen.
        weights: the search's; without ColBERT, or those of `dense+sparse` where nothing is left.
    """

    depth: int
    weights: Weights

    def chosen(
        self,
        query: Representation,
        candidates: CandidateRows,
        legs: Mapping[Leg, Sequence[int]],
        lacking: Iterable[Part],
    ) -> tuple[dict[Leg, list[int]], Staged]:
        """What of the legs is chosen; of equal candidates those of the first ids.

        Args:
            candidates: rows of all that the legs have; their token vectors are not looked at.
            lacking: legs that dropped out.
        """
        found = set[int]().union(*legs.values())
        scores, chunks = _first_scores(query, candidates), candidates.chunks
        among = [i for i, chunk in enumerate(chunks) if chunk.row in found]
        fused = fuse(scores[among], self._weights(lacking))
        best = ranked(fused, [chunks[i].id for i in among])[: self.depth]
        rows = {chunks[among[i]].row for i in best}
        chosen: dict[Leg, list[int]] = {
            leg: [row for row in ids if row in rows] for leg, ids in legs.items()
        }
        return chosen, Staged(found=len(among), reranked=len(rows))

    def _weights(self, lacking: Iterable[Part]) -> Weights:
        unknown = {*lacking, "colbert"}
        usual = METHOD_WEIGHTS[Method.DENSE_SPARSE]
        return self.weights.without(unknown) or usual.without(unknown) or usual


def _by_ranks(
    chunks: Sequence[ChunkKey], scores: F32, legs: Mapping[Leg, set[int]]
) -> tuple[F64, F64]:
    among: dict[Leg, list[int]] = {
        leg: [i for i, chunk in enumerate(chunks) if chunk.row in ids] for leg, ids in legs.items()
    }
    return reciprocal_ranks(scores, [chunk.id for chunk in chunks], among)


def score(
    query: Representation,
    candidates: CandidateRows,
    legs: Mapping[Leg, Sequence[int]],
    failed: Mapping[Leg, M3Error],
    *,
    ends: float | None,
    staged: Staged | None = None,
) -> ScoredCandidates:
    """All three exact scores of every candidate, but for parts that dropped out.

    Args:
        failed: legs that dropped out.
        ends: until when ColBERT may be computed, of the monotonic clock.
        staged: what these candidates were chosen of, where not all are to be ranked.
    """
    dropped: dict[Part, M3Error] = {**failed}
    scores = _first_scores(query, candidates)
    for begin, passages in _batches(candidates):
        if not _colbert(query, passages, ends, out=scores[begin:, 2]):
            dropped["colbert"] = DeadlineExceeded("there was no time left for the ColBERT scores")
            break
    return ScoredCandidates(candidates, scores, legs, dropped, staged)


def _first_scores(query: Representation, candidates: CandidateRows) -> F32:
    """[n, 3] fp32: dense and sparse score of each candidate, and 0 for ColBERT's."""
    scores = np.zeros((len(candidates.chunks), 3), np.float32)
    for begin, passages in _batches(candidates):
        scores[begin : begin + len(passages), :2] = first_scores(query, passages)
    return scores


def _batches(candidates: CandidateRows) -> Iterator[tuple[int, Passages]]:
    """Each batch with the number of its first candidate."""
    begin = 0
    for batch in candidates.batches:
        yield begin, batch
        begin += len(batch)


def _colbert(query: Representation, passages: Passages, ends: float | None, out: F32) -> bool:
    """Whether there was time for all of them."""
    count = len(passages)
    at_once = count if ends is None else _AT_ONCE
    for start in range(0, count, at_once):
        if ends is not None and time.monotonic() >= ends:
            return False
        stop = min(start + at_once, count)
        out[start:stop] = colbert_scores(query, passages, start, stop)
    return True
