"""Quality of a ranking by judgments: nDCG@10, Recall@100, MRR@10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ir_measures

DEPTH = 100
"""Documents of a ranking that the deepest metric looks at."""

_ir: Any = ir_measures
"""It is typed in part only."""

_MEASURES: Mapping[str, Any] = {
    "nDCG@10": _ir.nDCG @ 10,
    "Recall@100": _ir.R @ DEPTH,
    "MRR@10": _ir.RR @ 10,
}
METRICS = tuple(_MEASURES)


def measure(
    qrels: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """Means over the judged queries; one that was not answered counts as 0.

    Args:
        qrels: grades by query and document; above 0 is relevant.
        rankings: document ids by query, best first, each once.
    """
    # Places instead of scores: trec_eval breaks equal scores its own way.
    run = {
        query: {document: float(-place) for place, document in enumerate(ranking)}
        for query, ranking in rankings.items()
    }
    means = _ir.calc_aggregate(_MEASURES.values(), qrels, run)
    return {name: round(float(means[by]), 4) for name, by in _MEASURES.items()}
