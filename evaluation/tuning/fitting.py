"""Weights fitted to judgments, and whether they are better than those in use on queries unseen.

Queries are dealt into folds. For each fold, weights are fitted to all others and measured on it,
so that every query is measured by weights that know nothing of it. What is proposed in the end is
fitted to all; what is said of it is what the held-out queries say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.measuring.comparing import Comparison, compare
from evaluation.measuring.metrics import Metric, Qrels
from evaluation.measuring.significance import SEED
from evaluation.scores.raw import RawScores
from evaluation.tuning.places import Places
from evaluation.tuning.simplex import around, grid
from m3.errors import InvalidInput
from m3.types import I64
from scoring.fusion import F64, FUSING, METHOD_WEIGHTS, Method, Weights

FOLDS = 5
STEPS = 40
"""Of the grid over all weights: 861 of three, in steps of .025."""
FINER = 5
"""Times as fine around the best of them: steps of .005."""
_LEAST = 2 * FOLDS
"""Judged queries that tuning needs: two at least in every fold."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """Weights for a method, and what they are worth.

    Attributes:
        weights: fitted to all queries; they sum to 1.
        default: those in use.
        fitted: mean of the metric by `weights` on the queries they were fitted to.
        held_out: the weights in use (a) against fitted ones (b), on queries unseen.
        folds: what was fitted in each fold: how far these are apart says how sure the weights are.
    """

    method: Method
    metric: str
    queries: int
    weights: Weights
    default: Weights
    fitted: float
    held_out: Comparison
    folds: tuple[Weights, ...]

    @property
    def gain(self) -> bool:
        """Whether they are better, beyond noise."""
        return not self.held_out.noise and self.held_out.difference > 0


def tune(
    raw: RawScores,
    qrels: Qrels,
    metric: Metric,
    method: Method = Method.FUSION,
    *,
    default: Weights | None = None,
    seed: int = SEED,
) -> Tuned:
    """Fit a method's weights.

    Args:
        default: the weights in use; None are the method's own.

    Raises:
        InvalidInput: a method that does not fuse, or too few judged queries.
    """
    check(method, qrels)
    used = default or METHOD_WEIGHTS[method]
    fitting = _Fitting(Places(raw, qrels, metric, method), method)
    fold = np.random.default_rng(seed).permutation(len(qrels)) % FOLDS
    chosen = [fitting.best(np.flatnonzero(fold != each)) for each in range(FOLDS)]
    unseen = np.empty(len(qrels))
    for each, weights in enumerate(chosen):
        held = fold == each
        unseen[held] = fitting.values(weights[None])[0, held]
    best = fitting.best(np.arange(len(qrels)))
    now = fitting.places.values(np.array([used.as_tuple()]))[0]
    return Tuned(
        method=method,
        metric=str(metric),
        queries=len(qrels),
        weights=_weights(best),
        default=used,
        fitted=float(fitting.values(best[None]).mean()),
        held_out=compare(str(metric), now, unseen, seed=seed),
        folds=tuple(_weights(each) for each in chosen),
    )


def check(method: Method, qrels: Qrels) -> None:
    """Raises InvalidInput for a method that does not fuse, or too few judged queries."""
    if method not in FUSING:
        raise InvalidInput(f"{method} has no weights to tune: {' and '.join(FUSING)} have")
    if len(qrels) < _LEAST:
        raise InvalidInput(
            f"{len(qrels)} judged quer{'y' if len(qrels) == 1 else 'ies'}: tuning needs {_LEAST} "
            "at least, and some hundred to tell small gains from noise"
        )


class _Fitting:
    """The best weights for any subset of the queries; each weight is measured once."""

    def __init__(self, places: Places, method: Method) -> None:
        self.places = places
        self._method = method
        self._grid = grid(method, STEPS)
        self._coarse = places.values(self._grid)
        self._known: dict[bytes, F64] = {}

    def best(self, queries: I64) -> F64:
        """[3]: of a grid over all weights, and then of a finer one around the best of those."""
        coarse = _best(self._grid, self._coarse[:, queries].mean(axis=1))
        near = around(coarse, self._method, STEPS, FINER)
        return _best(near, self.values(near)[:, queries].mean(axis=1))

    def values(self, weights: F64) -> F64:
        """[w, q], as `Places.values`."""
        for triple in weights:
            if triple.tobytes() not in self._known:
                self._known[triple.tobytes()] = self.places.values(triple[None])[0]
        return np.stack([self._known[triple.tobytes()] for triple in weights])


def _best(weights: F64, means: F64) -> F64:
    """The weights of the highest mean; of several, the one amid them: a plateau has no edge."""
    highest = weights[means >= means.max() - 1e-9]
    return highest[np.abs(highest - highest.mean(axis=0)).sum(axis=1).argmin()]


def _weights(triple: F64) -> Weights:
    dense, sparse, colbert = np.round(triple, 4).tolist()
    return Weights(dense, sparse, colbert)
