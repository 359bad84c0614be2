"""Two systems on the same queries: is one better, by how much, and is that more than chance?"""

from __future__ import annotations

from dataclasses import dataclass

from evaluation.measuring.significance import CONFIDENCE, SEED, Interval, interval, randomisation_p
from m3.errors import InvalidInput
from scoring.fusion import F64

_EQUAL = 1e-9
"""Values of one query that differ by less are a tie."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A on one metric.

    Attributes:
        queries: that both were measured on.
        difference: B's mean less A's; above 0 says that B is better.
        interval: 95 % bootstrap interval of the difference.
        p: of the paired randomisation test, two-sided.
        wins, losses, ties: queries that B does better, worse, as well on.
        noise: the difference may well be chance: p is at least .05, or the interval has 0 in it.
    """

    metric: str
    queries: int
    a: float
    b: float
    difference: float
    interval: Interval
    p: float
    wins: int
    losses: int
    ties: int
    noise: bool


def compare(metric: str, a: F64, b: F64, *, seed: int = SEED) -> Comparison:
    """Value i of both is of the same query.

    Raises:
        InvalidInput: fewer than two queries: no interval is possible.
    """
    if len(a) < 2:
        raise InvalidInput(
            f"{len(a)} query in common: two at least are needed to tell a difference from chance"
        )
    differences = b - a
    low, high = interval(differences, seed=seed) or (0.0, 0.0)
    p = randomisation_p(differences, seed=seed)
    wins, losses = int((differences > _EQUAL).sum()), int((differences < -_EQUAL).sum())
    return Comparison(
        metric=metric,
        queries=len(a),
        a=float(a.mean()),
        b=float(b.mean()),
        difference=float(differences.mean()),
        interval=(low, high),
        p=p,
        wins=wins,
        losses=losses,
        ties=len(a) - wins - losses,
        noise=p >= 1 - CONFIDENCE or low <= 0 <= high,
    )
