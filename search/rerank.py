"""Every candidate gets all three exact scores from its row; they rank it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from m3.errors import DeadlineExceeded, M3Error
from m3.types import F32, EmbeddingBatch, Representation
from scoring.exact import colbert_scores, first_scores
from scoring.fusion import F64, METHOD_WEIGHTS, Method, Weights, fuse, ranked
from search.degrade import PARTS, Part, in_order
from search.ranking import Place, Rank, by_document, places, reciprocal_ranks, weighted
from search.request import SearchRequest
from search.response import Staged
from store.contract import CandidateRows, ChunkKey, Leg

_AT_ONCE = 64
"""Passages that ColBERT scores between two looks at the clock: some milliseconds."""


@dataclass(frozen=True, slots=True)
class ScoredCandidates:
    """Candidates of one query with their exact scores: any request of their legs ranks them.

    Attributes:
        scores: [n, 3] fp32, dense, sparse and ColBERT of row i; of no meaning for `dropped` ones.
        legs: what each leg found, row ids; those that dropped out are not among them.
        dropped: the parts that the search goes without, and why.
        staged: where not all candidates are to be ranked; `legs` have those that are.
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
        left = weights.without(self.degraded)
        if left is None:
            raise next(self.dropped[part] for part in self.degraded if getattr(weights, part))
        if not kept:
            return []
        chunks, scores = [self.rows.chunks[i] for i in kept], self.scores[kept]
        if request.rank is Rank.RRF:
            fused, shares = _by_ranks(chunks, scores, legs)
        else:
            fused, shares = weighted(scores, left)
        lacking = [PARTS.index(part) for part in self.degraded]
        ordered = places(chunks, scores, fused, shares, least=request.min_score, lacking=lacking)
        return by_document(ordered) if request.group_by else ordered


@dataclass(frozen=True, slots=True)
class Stage:
    """The first of two stages: a choice by dense and sparse scores.

    Attributes:
        depth: how many candidates are chosen.
        weights: the search's; without ColBERT, or those of `dense+sparse` where nothing is left.
    """

    depth: int
    weights: Weights

    def best(self, rows: CandidateRows, scores: F32, lacking: Iterable[Part]) -> Sequence[int]:
        """The numbers of the chosen rows, ascending; of equal ones those of the first ids."""
        unknown = {*lacking, "colbert"}
        usual = METHOD_WEIGHTS[Method.DENSE_SPARSE]
        weights = self.weights.without(unknown) or usual.without(unknown) or usual
        order = ranked(fuse(scores, weights), [chunk.id for chunk in rows.chunks])
        return sorted(order[: self.depth])


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
    stage: Stage | None = None,
) -> ScoredCandidates:
    """All three exact scores of every candidate, but for parts that dropped out.

    Args:
        failed: legs that dropped out.
        ends: until when ColBERT may be computed, of the monotonic clock.
        stage: which candidates it is computed for; None is all of them.
    """
    dropped: dict[Part, M3Error] = {**failed}
    scores = np.zeros((len(candidates.chunks), 3), np.float32)
    for begin, passages in _batches(candidates):
        scores[begin : begin + len(passages), :2] = first_scores(query, passages)
    chosen: Sequence[int] = range(len(scores))
    staged = None
    if stage is not None:
        chosen = stage.best(candidates, scores, dropped)
        rows = {candidates.chunks[i].row for i in chosen}
        legs = {leg: [row for row in found if row in rows] for leg, found in legs.items()}
        staged = Staged(found=len(scores), reranked=len(chosen))
    for begin, passages in _batches(candidates):
        own = [i - begin for i in chosen if begin <= i < begin + len(passages)]
        if not _colbert(query, passages, own, ends, out=scores[begin:, 2]):
            dropped["colbert"] = DeadlineExceeded("there was no time left for the ColBERT scores")
            break
    return ScoredCandidates(candidates, scores, legs, dropped, staged)


def _batches(candidates: CandidateRows) -> Iterator[tuple[int, EmbeddingBatch]]:
    """Each batch with the number of its first candidate."""
    begin = 0
    for batch in candidates.batches:
        yield begin, batch
        begin += len(batch)


def _colbert(
    query: Representation,
    passages: EmbeddingBatch,
    chosen: Sequence[int],
    ends: float | None,
    out: F32,
) -> bool:
    """Of the chosen passages, in ascending order; whether there was time for all of them."""
    for start, stop in _runs(chosen, len(passages) if ends is None else _AT_ONCE):
        if ends is not None and time.monotonic() >= ends:
            return False
        out[start:stop] = colbert_scores(query, passages, start, stop)
    return True


def _runs(numbers: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Neighbouring numbers together, as [start, stop)."""
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or i - start == most or numbers[i] != numbers[i - 1] + 1:
            yield numbers[start], numbers[i - 1] + 1
            start = i
