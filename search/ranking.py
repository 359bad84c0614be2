"""Candidates with their exact scores in order: fused by weights or by ranks, grouped or not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import numpy as np

from m3.types import F32
from scoring.fusion import F64, Weights, fuse, ranked
from search.response import Ranks, Scores
from store.contract import ChunkKey, Leg

GroupBy = Literal["document"]
RRF_K = 60
_COLUMNS: Mapping[Leg, int] = {"dense": 0, "sparse": 1}


class Rank(StrEnum):
    """How scores become one."""

    WEIGHTED = "weighted"
    RRF = "rrf"


@dataclass(frozen=True, slots=True)
class Place:
    """A hit before its text. Most are never shown, so what is shown is made when it is.

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


def places(
    chunks: Sequence[ChunkKey],
    scores: F32,
    fused: F64,
    shares: F64,
    *,
    least: float | None,
    lacking: Collection[int] = (),
) -> list[Place]:
    """The rows in order, best first, equal scores by their ids, without those under `least`.

    Args:
        lacking: columns of `scores` that are not known.
    """
    order = ranked(fused, [chunk.id for chunk in chunks])
    known: list[list[float | None]] = scores.tolist()
    for row in known if lacking else ():
        for column in lacking:
            row[column] = None
    totals, parts = fused.tolist(), shares.tolist()
    return [
        Place(chunks[i], totals[i], known[i], parts[i])
        for i in order
        if least is None or totals[i] >= least
    ]


def by_document(ordered: Sequence[Place]) -> list[Place]:
    """The best chunk of each document, with its other ones under it."""
    groups: dict[tuple[str, str], list[Place]] = {}
    for place in ordered:
        groups.setdefault((place.chunk.source, place.chunk.document_id), []).append(place)
    return [replace(best, rest=tuple(rest)) for best, *rest in groups.values()]
