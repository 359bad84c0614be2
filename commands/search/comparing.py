"""`m3-search compare`: files of two kinds read, and their common queries compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evaluation.measuring import per_query, run_files
from evaluation.measuring.comparing import Comparison, compare
from evaluation.measuring.metrics import DEFAULT, Metric, Qrels, measure, metric_named
from m3.errors import InvalidInput

Figures = Mapping[str, Mapping[str, float]]
"""By query: the value of each metric."""


def compared(
    a: Path, b: Path, qrels: Qrels | None, metrics: str | None, method: str
) -> list[Comparison]:
    """One comparison for each metric that both have.

    Raises:
        InvalidInput: files of which one is none, or that have nothing in common to compare.
    """
    wanted = [metric_named(name) for name in metrics.split(",")] if metrics else None
    tables = [per_query.is_one(path) for path in (a, b)]
    if tables[0] != tables[1]:
        raise InvalidInput(
            "one is a TREC run, the other a CSV of eval --per-query: give two of one kind"
        )
    if tables[0]:
        first, _, second = method.partition(",")
        figures = _of_table(a, first), _of_table(b, second or first)
    else:
        figures = _of_runs(a, b, qrels, wanted or list(DEFAULT))
    return _compared(*figures, wanted)


def _compared(a: Figures, b: Figures, wanted: list[Metric] | None) -> list[Comparison]:
    common = [query for query in a if query in b]
    if not common:
        raise InvalidInput("the two have no query in common: there is nothing to compare")
    both = [name for name in a[common[0]] if name in b[common[0]]]
    names = [str(metric) for metric in wanted] if wanted else both
    if lacking := [name for name in names if name not in both]:
        raise InvalidInput(f"{lacking[0]} is not in both; there are: {', '.join(both) or 'none'}")
    return [
        compare(
            name,
            np.array([a[query][name] for query in common]),
            np.array([b[query][name] for query in common]),
        )
        for name in names
    ]


def _of_table(path: Path, method: str) -> Figures:
    table = per_query.read(path)
    if method not in table:
        raise InvalidInput(f"{path} has no method {method!r}; there are: {', '.join(table)}")
    return table[method]


def _of_runs(
    a: Path, b: Path, qrels: Qrels | None, metrics: list[Metric]
) -> tuple[Figures, Figures]:
    if qrels is None:
        raise InvalidInput("TREC runs need judgments: --judgments with a folder or a sheet")
    return _of_run(a, qrels, metrics), _of_run(b, qrels, metrics)


def _of_run(path: Path, qrels: Qrels, metrics: list[Metric]) -> Figures:
    """Judged queries that a run does not answer count as 0, as trec_eval -c has it."""
    run = run_files.read(path)
    if not run.keys() & qrels.keys():
        raise InvalidInput(f"{path} answers none of the judged queries")
    values = measure(qrels, {query: each.documents for query, each in run.items()}, metrics)
    return {
        query: {name: float(column[i]) for name, column in values.items()}
        for i, query in enumerate(qrels)
    }
