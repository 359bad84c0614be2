"""Floors: figures that a method must not fall below, so that a CI can hold quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.measuring.metrics import Metric, metric_named
from m3.errors import InvalidInput
from scoring.fusion import Method
from search.request import method_named


@dataclass(frozen=True, slots=True)
class Floor:
    """`fusion:nDCG@10=0.70`."""

    method: Method
    metric: Metric
    least: float

    def __str__(self) -> str:
        return f"{self.method}:{self.metric}={self.least:g}"


@dataclass(frozen=True, slots=True)
class Missed:
    """A floor and what was measured instead."""

    floor: str
    measured: float


def parse(text: str) -> Floor:
    """Raises InvalidInput, with the form that is wanted."""
    method, _, rest = text.partition(":")
    metric, _, least = rest.partition("=")
    try:
        floor = float(least)
    except ValueError:
        floor = -1.0
    if not 0 <= floor <= 1:
        raise InvalidInput(f"floor {text!r}: write it as fusion:nDCG@10=0.70, from 0 to 1")
    return Floor(method_named(method.strip()), metric_named(metric), floor)


def missed(floors: Sequence[Floor], results: Mapping[str, Mapping[str, float]]) -> list[Missed]:
    """Those that the means, by method and metric, fall below.

    Raises:
        InvalidInput: a floor of a method or a metric that was not measured.
    """
    found: list[Missed] = []
    for floor in floors:
        means = results.get(floor.method.value, {})
        if str(floor.metric) not in means:
            raise InvalidInput(f"floor {floor}: that method or metric is not among those measured")
        if means[str(floor.metric)] < floor.least:
            found.append(Missed(str(floor), means[str(floor.metric)]))
    return found
