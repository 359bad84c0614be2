"""Metrics from the places of judged documents alone: a thousand weights in seconds.

A judged document's place is one more than the documents that score better; nothing is sorted. The
values are those of `evaluation.measuring.metrics`, which ir-measures computes from whole rankings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.measuring.metrics import Metric, Qrels
from evaluation.scores.ranking import within
from evaluation.scores.raw import RawScores
from m3.errors import InvalidInput
from m3.types import I64
from scoring.fusion import F64, Method

Bools = NDArray[np.bool_]
_BLOCK = 100_000
"""Comparisons at once: they stay in a core's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The relevant documents of q queries that were found at all, as columns of r.

    Attributes:
        query: [r] int64, ascending; numbers of queries in the order of the qrels.
        gain: [r] their grades.
        ideal: [q] the sum of discounted gains that the best ranking has, at the metric's cutoff.
        relevant: [q] how many relevant documents there are, found or not.
    """

    query: I64
    gain: F64
    ideal: F64
    relevant: F64


class Places:
    """Where judged documents come to stand, for one method's candidates and any weights."""

    def __init__(
        self, raw: RawScores, qrels: Qrels, metric: Metric, method: Method = Method.FUSION
    ) -> None:
        """Queries that are not judged are left out; those without scores count as 0.

        Raises:
            InvalidInput: no judged query has scores, or the metric looks deeper than they go.
        """
        if metric.cutoff is not None and metric.cutoff > raw.depth:
            raise InvalidInput(f"{metric} looks deeper than the {raw.depth} candidates of each leg")
        self.queries = tuple(qrels)
        self._metric = metric
        self._value = _VALUES[metric.name]
        self._cutoff = min(metric.cutoff or raw.depth, raw.depth)
        known = within(raw.only(qrels), method)
        number = {query: i for i, query in enumerate(self.queries)}
        query = np.array([number[each] for each in known.queries])[known.query_numbers()]
        owner = known.owners[known.chunks]
        # Documents of a query together, their chunks by id: a document is a run of rows.
        order = np.lexsort((known.chunks, owner, query))
        query, owner = query[order], owner[order]
        first = np.ones(len(order), np.bool_)
        first[1:] = (query[1:] != query[:-1]) | (owner[1:] != owner[:-1])
        self._starts = np.flatnonzero(first)
        self._alone = len(self._starts) == len(order)
        self._columns = tuple(np.ascontiguousarray(known.scores[order].T.astype(np.float64)))
        self._chunks = known.chunks[order].astype(np.int64)
        self._of_document(query[first], owner[first], known, qrels)

    def _of_document(
        self, query: I64, owner: NDArray[np.int32], raw: RawScores, qrels: Qrels
    ) -> None:
        """Documents as columns of a matrix [q, width], and which of them are relevant."""
        counts = np.bincount(query, minlength=len(self.queries))
        begins = np.concatenate([[0], np.cumsum(counts)])[:-1]
        self._shape = (len(self.queries), int(counts.max(initial=0)))
        self._cells = query * self._shape[1] + np.arange(len(query)) - begins[query]
        grades: list[Mapping[str, int]] = [qrels[each] for each in self.queries]
        queries: list[int] = query.tolist()
        owners: list[int] = owner.tolist()
        pairs = zip(queries, owners, strict=True)
        found = [grades[i].get(raw.documents[number], 0) for i, number in pairs]
        grade = np.array(found, np.float64)
        self._wanted = np.flatnonzero(grade > 0)
        self._judged = Judged(
            query=query[self._wanted],
            gain=grade[self._wanted],
            ideal=np.array([_ideal(each, self._metric.cutoff) for each in grades]),
            relevant=np.array([sum(g > 0 for g in each.values()) for each in grades], np.float64),
        )

    def values(self, weights: F64) -> F64:
        """[w, q] of weights [w, 3]: each query's metric by each of them."""
        rows = [
            self._value(self._judged, self._places(*triple), self._cutoff) for triple in weights
        ]
        return np.stack(rows) if rows else np.zeros((0, len(self.queries)))

    def _places(self, dense: float, sparse: float, colbert: float) -> I64:
        """[r]: the place of each relevant document, from 1."""
        # The sum and the division of `scoring.fusion.fuse`, in its order: ties stay ties.
        total = np.array([dense, sparse, colbert]).sum()
        d, s, c = self._columns
        fused = (d * dense + s * sparse + c * colbert) / total
        best, first = (fused, self._chunks) if self._alone else self._best(fused)
        scores = np.full(self._shape, -np.inf)
        scores.ravel()[self._cells] = best
        mine, rows = best[self._wanted], self._judged.query
        places = np.empty(len(rows), np.int64)
        for part in self._parts(len(rows)):
            others, level = scores[rows[part]], mine[part, None]
            above = _counts(others > level)
            tied = np.flatnonzero(_counts(others >= level) > above + 1)
            places[part] = 1 + above
            if len(tied):
                places[part][tied] += self._before(tied + part.start, scores, first)
        return places

    def _before(self, relevant: I64, scores: F64, first: I64) -> I64:
        """How many documents of the same score stand before these relevant ones, by id."""
        ids = np.zeros(self._shape, np.int64)
        ids.ravel()[self._cells] = first
        rows, at = self._judged.query[relevant], self._wanted[relevant]
        level = scores.ravel()[self._cells[at]][:, None]
        return ((scores[rows] == level) & (ids[rows] < first[at][:, None])).sum(axis=1)

    def _best(self, fused: F64) -> tuple[F64, I64]:
        """Of each document: its best chunk's score, and the number of the first that has it."""
        best = np.maximum.reduceat(fused, self._starts) if len(fused) else fused
        lengths = np.diff(np.append(self._starts, len(fused)))
        has = fused == np.repeat(best, lengths)
        numbers = np.where(has, self._chunks, np.iinfo(np.int64).max)
        return best, np.minimum.reduceat(numbers, self._starts)

    def _parts(self, rows: int) -> Iterator[slice]:
        step = max(1, _BLOCK // max(1, self._shape[1]))
        return (slice(begin, begin + step) for begin in range(0, rows, step))


def _counts(true: Bools) -> I64:
    """[r]: how many of each row [r, width] are; as bytes, which numpy sums fastest."""
    return true.view(np.uint8).sum(axis=1, dtype=np.uint16).astype(np.int64)


def _ideal(grades: Mapping[str, int], cutoff: int | None) -> float:
    gains = np.array(sorted((g for g in grades.values() if g > 0), reverse=True)[:cutoff])
    return float((gains / np.log2(np.arange(len(gains)) + 2)).sum())


def _ndcg(judged: Judged, places: I64, cutoff: int) -> F64:
    gains = np.where(places <= cutoff, judged.gain / np.log2(places + 1), 0)
    return _sums(judged, gains) / np.maximum(judged.ideal, np.finfo(np.float64).tiny)


def _recall(judged: Judged, places: I64, cutoff: int) -> F64:
    return _sums(judged, places <= cutoff) / np.maximum(judged.relevant, 1)


def _reciprocal_rank(judged: Judged, places: I64, cutoff: int) -> F64:
    best = np.zeros(len(judged.relevant))
    np.maximum.at(best, judged.query, np.where(places <= cutoff, 1 / places, 0))
    return best


def _average_precision(judged: Judged, places: I64, cutoff: int) -> F64:
    order = np.lexsort((places, judged.query))
    nth = np.arange(len(order)) - np.searchsorted(judged.query, judged.query) + 1
    precision = np.where(places[order] <= cutoff, nth / places[order], 0)
    return _sums(judged, precision) / np.maximum(judged.relevant, 1)


def _sums(judged: Judged, values: F64 | Bools) -> F64:
    return np.bincount(judged.query, values, len(judged.relevant)).astype(np.float64)


_VALUES: Mapping[str, Callable[[Judged, I64, int], F64]] = {
    "nDCG": _ndcg,
    "Recall": _recall,
    "MRR": _reciprocal_rank,
    "MAP": _average_precision,
}
