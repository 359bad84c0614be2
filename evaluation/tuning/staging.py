"""What two stages cost: rankings of those alone that dense and sparse scores choose."""

from __future__ import annotations

import numpy as np

from evaluation.measuring.comparing import Comparison, compare
from evaluation.measuring.metrics import Metric, Qrels
from evaluation.scores.raw import RawScores
from evaluation.tuning.places import Places
from scoring.fusion import METHOD_WEIGHTS, Method, Weights, fuse


def cost(raw: RawScores, qrels: Qrels, metric: Metric, weights: Weights, depth: int) -> Comparison:
    """Fusions of all candidates (a) against those of the `depth` that a first stage chooses (b).

    Raises:
        InvalidInput: too few judged queries, or a metric that looks deeper than the scores go.
    """
    by = np.array([weights.as_tuple()])
    whole, chosen = (
        Places(each, qrels, metric, Method.FUSION).values(by)[0]
        for each in (raw, staged(raw, weights, depth))
    )
    return compare(str(metric), whole, chosen)


def staged(raw: RawScores, weights: Weights, depth: int) -> RawScores:
    """The `depth` best of each query's candidates without ColBERT, as `search.rerank.Stage`."""
    own = weights.without({"colbert"}) or METHOD_WEIGHTS[Method.DENSE_SPARSE]
    query = raw.query_numbers()
    # Stable, and candidates lie in the order of their ids: so are equal ones chosen.
    order = np.lexsort((-fuse(raw.scores, own), query))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order)) - raw.offsets[query[order]]
    return raw.where(place < depth)
