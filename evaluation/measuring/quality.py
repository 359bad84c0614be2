"""What rankings from raw scores are worth by judgments: each method's figures, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.measuring.metrics import DEFAULT, Metric, Qrels, Values, measure
from evaluation.measuring.significance import Interval, interval
from evaluation.scores.ranking import Run, rankings
from evaluation.scores.raw import RawScores
from m3.errors import InvalidInput
from scoring.fusion import METHOD_WEIGHTS, Method, Weights


@dataclass(frozen=True, slots=True)
class Measured:
    """One method on the judged queries.

    Attributes:
        run: what it ranked.
        values: of each metric, one value for each query of `queries`.
    """

    method: Method
    weights: Weights
    run: Run
    queries: Sequence[str]
    values: Values

    @property
    def means(self) -> Mapping[str, float]:
        return {name: round(float(values.mean()), 4) for name, values in self.values.items()}

    @property
    def intervals(self) -> Mapping[str, Interval | None]:
        """95 % bootstrap intervals of the means; None where one query is judged."""
        return {name: _rounded(interval(values)) for name, values in self.values.items()}


def measure_methods(
    raw: RawScores,
    qrels: Qrels,
    methods: Sequence[Method],
    *,
    weights: Mapping[Method, Weights] | None = None,
    metrics: Sequence[Metric] = DEFAULT,
    depth: int | None = None,
) -> list[Measured]:
    """Every method from the same scores.

    Args:
        weights: in place of the methods' own.

    Raises:
        InvalidInput: a metric that looks deeper than the rankings go.
    """
    deep = raw.depth if depth is None else depth
    for metric in metrics:
        if metric.cutoff is not None and metric.cutoff > deep:
            raise InvalidInput(f"{metric} looks deeper than the {deep} candidates of each leg")
    chosen = {**METHOD_WEIGHTS, **(weights or {})}
    measured: list[Measured] = []
    for method in methods:
        run = rankings(raw, method, chosen[method], depth=depth)
        ranked = {query: ranking.documents for query, ranking in run.items()}
        values = measure(qrels, ranked, metrics)
        measured.append(Measured(method, chosen[method], run, list(qrels), values))
    return measured


def _rounded(found: Interval | None) -> Interval | None:
    return None if found is None else (round(found[0], 4), round(found[1], 4))
