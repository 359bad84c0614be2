"""How sure a mean or a difference of means is: bootstrap intervals and a paired randomisation test.

Queries are what is drawn: another sample of them is what a figure has to hold for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np

from scoring.fusion import F64

Interval: TypeAlias = tuple[float, float]

DRAWS = 10_000
SEED = 20_240_202
CONFIDENCE = 0.95
_BLOCK = 2_000_000
"""Numbers drawn at once, so that memory stays bounded whatever the number of queries."""


def interval(values: F64, *, draws: int = DRAWS, seed: int = SEED) -> Interval | None:
    """The 95 % percentile bootstrap interval of the mean of [q] values.

    None for a single query: there is nothing to draw from.
    """
    if len(values) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [
            values[rng.integers(0, len(values), (size, len(values)))].mean(axis=1)
            for size in _blocks(draws, len(values))
        ]
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


def randomisation_p(differences: F64, *, draws: int = DRAWS, seed: int = SEED) -> float:
    """Two-sided p that the mean of [q] paired differences is chance: signs drawn anew.

    At least 1 / (draws + 1); 1 where all differences are 0.
    """
    rng = np.random.default_rng(seed)
    observed = abs(differences.sum())
    # Sums of the same numbers in another order differ in their last bits.
    enough = observed - 1e-9 * np.abs(differences).sum()
    beyond = sum(
        int((np.abs(_signs(rng, size, len(differences)) @ differences) >= enough).sum())
        for size in _blocks(draws, len(differences))
    )
    return (beyond + 1) / (draws + 1)


def _signs(rng: np.random.Generator, rows: int, columns: int) -> F64:
    return 1 - 2 * rng.integers(0, 2, (rows, columns), np.int8).astype(np.float64)


def _blocks(draws: int, width: int) -> Iterator[int]:
    rows = max(1, _BLOCK // max(1, width))
    for begun in range(0, draws, rows):
        yield min(rows, draws - begun)
