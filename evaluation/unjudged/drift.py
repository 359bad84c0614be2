"""How far rankings have drifted between two generations, models or collections.

By rank-biased overlap (Webber, Moffat and Zobel 2010), extrapolated: 1 for equal rankings, 0 for
rankings without a common document; the first places count most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.scores.ranking import Run
from m3.errors import InvalidInput

PERSISTENCE = 0.9
"""The chance of a reader to go on to the next document: the first ten have 86 % of the weight."""
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Drifted:
    """A query and how much of its ranking is left, from 0 to 1."""

    query: str
    overlap: float


@dataclass(frozen=True, slots=True)
class Drift:
    """Over the queries that both have rankings for.

    Attributes:
        overlap: mean rank-biased overlap.
        first_changed: share of queries whose first document is another one.
        most: the ten queries that have drifted furthest.
    """

    queries: int
    overlap: float
    first_changed: float
    most: Sequence[Drifted]


def drift(before: Run, after: Run) -> Drift:
    """Raises InvalidInput where there is no query in common."""
    common = [query for query in before if query in after]
    if not common:
        raise InvalidInput("the two have no query in common: there is nothing to compare")
    overlaps = [
        Drifted(query, round(overlap(before[query].documents, after[query].documents), 4))
        for query in common
    ]
    changed = sum(
        list(before[query].documents[:1]) != list(after[query].documents[:1]) for query in common
    )
    return Drift(
        queries=len(common),
        overlap=round(sum(each.overlap for each in overlaps) / len(common), 4),
        first_changed=round(changed / len(common), 4),
        most=sorted(overlaps, key=lambda each: each.overlap)[:_NAMED],
    )


def overlap(a: Sequence[str], b: Sequence[str], p: float = PERSISTENCE) -> float:
    """Rank-biased overlap of two rankings, extrapolated beyond the end of the longer one.

    Equation 32 of the paper: what is not seen of the shorter one agrees as what is seen.
    """
    short, long = sorted((a, b), key=len)
    if not short:
        return 1.0 if not long else 0.0
    s, deepest = len(short), len(long)
    seen_short, seen_long = set[str](), set[str]()
    common, common_short, total = 0, 0, 0.0
    for depth in range(1, deepest + 1):
        seen_long.add(long[depth - 1])
        if depth <= s:
            seen_short.add(short[depth - 1])
            common = len(seen_short & seen_long)
            common_short = common
            total += common / depth * p**depth
        else:
            common += long[depth - 1] in seen_short
            total += (common / depth + common_short * (depth - s) / (s * depth)) * p**depth
    tail = ((common - common_short) / deepest + common_short / s) * p**deepest
    return (1 - p) / p * total + tail
