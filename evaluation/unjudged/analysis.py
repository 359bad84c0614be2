"""What a collection does with queries that nobody has judged: what each score contributes to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evaluation.scores.ranking import Run, rankings
from evaluation.scores.raw import RawScores
from m3.types import I64
from scoring.fusion import F64, METHOD_WEIGHTS, Method, Weights, fuse

TOP = 10
"""Hits that people look at."""
_DEPTHS = (10, 50, 100)
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_NAMED = 10
_FENCE = 1.5
"""Tukey's: so many interquartile ranges below the lower quartile."""


@dataclass(frozen=True, slots=True)
class Found:
    """Which leg found the first hits: shares that sum to 1."""

    dense_alone: float
    sparse_alone: float
    both: float


@dataclass(frozen=True, slots=True)
class Moves:
    """What the ColBERT score changes, against dense and sparse alone.

    Attributes:
        first_changed: share of queries whose first document is another one.
        brought_in: share of the first ten documents that were not among the first ten without it.
        places: quantiles (5, 25, 50, 75, 95 %) of how many places the first ten have moved.
    """

    first_changed: float
    brought_in: float
    places: Sequence[float]


@dataclass(frozen=True, slots=True)
class Weak:
    """A query whose best hit scores low, or that has none (null)."""

    query: str
    text: str
    best: float | None


@dataclass(frozen=True, slots=True)
class Analysis:
    """Over all queries, each counting the same.

    Attributes:
        overlap: by depth, the share of what a leg finds that the other finds as well.
        scores: of each score and the fused one, quantiles (5, 25, 50, 75, 95 %) over the first ten
            hits.
        good: the fused score that a best hit needs not to be weak.
        weak: queries without a good hit, the worst first.
        weakest: the ten worst, good or not.
    """

    queries: int
    depth: int
    overlap: Mapping[int, float]
    found: Found
    colbert: Moves
    scores: Mapping[str, Sequence[float]]
    good: float
    weak: Sequence[Weak]
    weakest: Sequence[Weak] = field(default_factory=list[Weak])


def analyse(
    raw: RawScores,
    texts: Mapping[str, str],
    *,
    weights: Weights | None = None,
    good: float | None = None,
) -> Analysis:
    """Args:
    texts: of the queries, by id.
    weights: of the fusion; None are the method's own.
    good: None is what is usual here: a best hit is weak that is an outlier below the others.
    """
    used = weights or METHOD_WEIGHTS[Method.FUSION]
    fused = fuse(raw.scores, used)
    top = _top(raw, fused)
    best = _best(raw, fused)
    least = _usual(best) if good is None else good
    order: list[int] = np.argsort(best, kind="stable").tolist()
    named = [(raw.queries[i], float(best[i])) for i in order]
    weakest = [
        Weak(query, texts[query], score if np.isfinite(score) else None) for query, score in named
    ]
    columns = {name: raw.scores[top, i] for i, name in enumerate(("dense", "sparse", "colbert"))}
    return Analysis(
        queries=len(raw),
        depth=raw.depth,
        overlap={depth: _overlap(raw, depth) for depth in _DEPTHS if depth <= raw.depth},
        found=_found(raw.ranks[top] > 0),
        colbert=moves(rankings(raw, Method.DENSE_SPARSE), rankings(raw, Method.FUSION, used)),
        scores={
            name: _quantiles(column) for name, column in {**columns, "fused": fused[top]}.items()
        },
        good=round(least, 4),
        weak=[each for each in weakest if each.best is None or each.best < least],
        weakest=weakest[:_NAMED],
    )


def moves(before: Run, after: Run) -> Moves:
    """What has changed from one ranking of each query to another one of the same documents."""
    firsts: list[bool] = []
    brought: list[bool] = []
    places: list[int] = []
    for query, ranking in after.items():
        was = {document: place for place, document in enumerate(before[query].documents)}
        firsts.append(list(ranking.documents[:1]) != list(before[query].documents[:1]))
        for place, document in enumerate(ranking.documents[:TOP]):
            stood = was.get(document, len(was))
            brought.append(stood >= TOP)
            places.append(abs(stood - place))
    return Moves(_share(firsts), _share(brought), _quantiles(np.array(places, np.float64)))


def _top(raw: RawScores, fused: F64) -> I64:
    """Rows of the first ten hits of each query."""
    query = raw.query_numbers()
    order = np.lexsort((raw.chunks, -fused, query))
    return order[np.arange(len(order)) - np.searchsorted(query, query) < TOP]


def _best(raw: RawScores, fused: F64) -> F64:
    best = np.full(len(raw), -np.inf)
    np.maximum.at(best, raw.query_numbers(), fused)
    return best


def _usual(best: F64) -> float:
    found = best[np.isfinite(best)]
    if not len(found):
        return 0.0
    low, high = np.quantile(found, (0.25, 0.75))
    return float(low - _FENCE * (high - low))


def _overlap(raw: RawScores, depth: int) -> float:
    """Of what the larger leg finds this deep, the share that both find: the mean over queries."""
    within = (raw.ranks > 0) & (raw.ranks <= depth)
    query = raw.query_numbers()
    legs = np.stack([np.bincount(query, within[:, leg], len(raw)) for leg in (0, 1)])
    common = np.bincount(query, within[:, 0] & within[:, 1], len(raw))
    larger = legs.max(axis=0)
    found = larger > 0
    return round(float((common[found] / larger[found]).mean()), 4) if found.any() else 0.0


def _found(legs: NDArray[np.bool_]) -> Found:
    dense, sparse = legs[:, 0], legs[:, 1]
    return Found(_share(dense & ~sparse), _share(sparse & ~dense), _share(dense & sparse))


def _share(true: NDArray[np.bool_] | Sequence[bool]) -> float:
    return round(float(np.mean(true)), 4) if len(true) else 0.0


def _quantiles(values: NDArray[np.floating]) -> list[float]:
    if not len(values):
        return []
    return [round(float(value), 4) for value in np.quantile(values, _QUANTILES)]
