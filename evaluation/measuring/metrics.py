"""Metrics of rankings by judgments, as trec_eval defines them, computed by ir-measures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import ir_measures
import numpy as np

from m3.errors import InvalidInput
from scoring.fusion import F64

Qrels: TypeAlias = Mapping[str, Mapping[str, int]]
"""Grades by query and document; above 0 is relevant."""
Values: TypeAlias = Mapping[str, F64]
"""Of each metric, by its name, one value for each query: [q]."""

_ir: Any = ir_measures
"""It is typed in part only."""
_NAMES: Mapping[str, Any] = {"nDCG": _ir.nDCG, "Recall": _ir.R, "MRR": _ir.RR, "MAP": _ir.AP}
_FORM = re.compile(rf"({'|'.join(_NAMES)})(?:@([1-9]\d{{0,3}}))?")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric over the first `cutoff` documents of a ranking; None is all of it."""

    name: str
    cutoff: int | None = None

    def __str__(self) -> str:
        return self.name if self.cutoff is None else f"{self.name}@{self.cutoff}"

    def measure(self) -> Any:
        """As ir-measures has it."""
        kind = _NAMES[self.name]
        return kind if self.cutoff is None else kind @ self.cutoff


DEFAULT = (Metric("nDCG", 10), Metric("Recall", 100), Metric("MRR", 10), Metric("MAP"))


def metric_named(name: str) -> Metric:
    """`nDCG@10`, `Recall@100`, `MRR@10`, `MAP`, or others of these with other numbers.

    Raises:
        InvalidInput: it is none of them.
    """
    found = _FORM.fullmatch(name.strip())
    if found is None or (found[1] == "Recall" and found[2] is None):
        raise InvalidInput(
            f"unknown metric {name!r}: give one such as {', '.join(map(str, DEFAULT))}"
        )
    return Metric(found[1], int(found[2]) if found[2] else None)


def measure(
    qrels: Qrels, rankings: Mapping[str, Sequence[str]], metrics: Sequence[Metric] = DEFAULT
) -> Values:
    """Each judged query's values, in the order of `qrels`.

    A query without a ranking counts as 0, as does one without a relevant document; a document
    without a judgment is not relevant.

    Args:
        rankings: document ids by query, best first, each once.
    """
    # Places instead of scores: trec_eval breaks equal scores its own way.
    run = {
        query: {document: float(-place) for place, document in enumerate(ranking)}
        for query, ranking in rankings.items()
        if query in qrels
    }
    number = {query: i for i, query in enumerate(qrels)}
    name = {metric.measure(): str(metric) for metric in metrics}
    values = {str(metric): np.zeros(len(qrels)) for metric in metrics}
    for each in _ir.iter_calc(list(name), qrels, run):
        values[name[each.measure]][number[each.query_id]] = each.value
    return values
