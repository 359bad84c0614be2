"""Candidates with their exact scores in order: fused by weights or by ranks, grouped or not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, overload

import numpy as np

from m3.types import F32
from scoring.fusion import F64, Weights, fuse, ranked
from search.response import Ranks, Scores
from store.candidates import Leg
from store.chunks import ChunkKey

GroupBy = Literal["document"]
RRF_K = 60
_COLUMNS: Mapping[Leg, int] = {"dense": 0, "sparse": 1}


class Rank(StrEnum):
    """How scores become one."""

    WEIGHTED = "weighted"
    RRF = "rrf"


@dataclass(frozen=True, slots=True)
class Place:
    """A hit before its text.

    Attributes:
        known: the three scores, None for what dropped out.
        parts: what each of them contributes; their sum is `score`.
        rest: where hits are documents, its other chunks among the candidates, best first.
    """

    chunk: ChunkKey
    score: float
    known: Sequence[float | None]
    parts: Sequence[float]
    rest: tuple[Place, ...] = ()

    @property
    def row(self) -> int:
        return self.chunk.row

    @property
    def scores(self) -> Scores:
        return Scores(*self.known)

    @property
    def shares(self) -> Scores:
        return Scores(*self.parts)


def weighted(scores: F32, weights: Weights) -> tuple[F64, F64]:
    """Σwᵢsᵢ / Σwᵢ of rows [n, 3], and what each score contributes, [n, 3]."""
    w = np.array(weights.as_tuple())
    return fuse(scores, weights), scores * w / w.sum()


def reciprocal_ranks(
    scores: F32, ids: Sequence[str], legs: Mapping[Leg, Iterable[int]]
) -> tuple[F64, F64]:
    """Σ 1 / (60 + rank) over the legs that found a row, and what each leg contributes, [n, 3].

    Args:
        legs: the numbers of the rows that each leg found. They are ranked by their exact scores,
            the best 1, equal ones by their ids.
    """
    shares = np.zeros((len(ids), 3))
    for leg, found in legs.items():
        column, rows = _COLUMNS[leg], list(found)
        order = ranked(scores[rows, column].astype(np.float64), [ids[row] for row in rows])
        shares[[rows[i] for i in order], column] = 1 / (RRF_K + 1 + np.arange(len(rows)))
    return shares.sum(axis=1), shares


def ranks(shares: Scores) -> Ranks:
    """The ranks that shares of `reciprocal_ranks` came from."""
    return Ranks(_rank(shares.dense), _rank(shares.sparse))


def _rank(share: float | None) -> int | None:
    return round(1 / share) - RRF_K if share else None


@dataclass(frozen=True, slots=True)
class Places(Sequence[Place]):
    """Rows in order, best first; each place is made when it is looked at.

    Attributes:
        order: the numbers of the rows.
        scores: [n, 3] of all rows, in their own order; likewise the others.
        lacking: columns of `scores` that are not known.
    """

    order: Sequence[int]
    chunks: Sequence[ChunkKey]
    scores: F32
    fused: F64
    shares: F64
    lacking: Collection[int]

    def __len__(self) -> int:
        return len(self.order)

    @overload
    def __getitem__(self, index: int) -> Place: ...
    @overload
    def __getitem__(self, index: slice) -> list[Place]: ...
    def __getitem__(self, index: int | slice) -> Place | list[Place]:
        if isinstance(index, slice):
            return [self._place(row) for row in self.order[index]]
        return self._place(self.order[index])

    def _place(self, row: int) -> Place:
        known: list[float | None] = self.scores[row].tolist()
        for column in self.lacking:
            known[column] = None
        return Place(self.chunks[row], float(self.fused[row]), known, self.shares[row].tolist())


def places(
    chunks: Sequence[ChunkKey],
    scores: F32,
    fused: F64,
    shares: F64,
    *,
    least: float | None,
    lacking: Collection[int] = (),
) -> Places:
    """The rows in order, best first, equal scores by their ids, without those under `least`.

    Args:
        lacking: columns of `scores` that are not known.
    """
    order = ranked(fused, [chunk.id for chunk in chunks])
    if least is not None:
        order = [row for row in order if fused[row] >= least]
    return Places(order, chunks, scores, fused, shares, lacking)


def by_document(ordered: Sequence[Place]) -> list[Place]:
    """The best chunk of each document, with its other ones under it."""
    groups: dict[tuple[str, str], list[Place]] = {}
    for place in ordered:
        groups.setdefault((place.chunk.source, place.chunk.document_id), []).append(place)
    return [replace(best, rest=tuple(rest)) for best, *rest in groups.values()]
