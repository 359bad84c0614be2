"""Which scores a method uses, how they are fused, and how hits are ordered."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from m3.errors import InvalidInput
from m3.types import F32

F64: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each score counts; only their ratios matter."""

    dense: float
    sparse: float
    colbert: float

    def __post_init__(self) -> None:
        values = self.as_tuple()
        if not all(math.isfinite(value) for value in values):
            raise InvalidInput("weights must be finite numbers")
        if min(values) < 0:
            raise InvalidInput(f"weights must not be negative, got {values}")
        if sum(values) == 0:
            raise InvalidInput("at least one weight must be above zero")
        if not math.isfinite(sum(values)):
            raise InvalidInput("weights are too large: only their ratios matter")

    def as_tuple(self) -> tuple[float, float, float]:
        return (self.dense, self.sparse, self.colbert)

    def without(self, names: Collection[str]) -> Weights | None:
        """These scores count nothing; None if nothing is left that counts."""
        left = Weights.__dataclass_fields__.keys() - set(names)
        if not any(getattr(self, name) for name in left):
            return None
        return replace(self, **dict.fromkeys(names, 0.0))

    def normalised(self) -> tuple[float, float, float]:
        """wᵢ / Σwᵢ."""
        total = sum(self.as_tuple())
        return (self.dense / total, self.sparse / total, self.colbert / total)


class Method(StrEnum):
    """How hits are scored. Every method but `dense` and `sparse` scores the union of both legs."""

    DENSE = "dense"
    SPARSE = "sparse"
    COLBERT = "colbert"
    DENSE_SPARSE = "dense+sparse"
    FUSION = "fusion"


METHOD_WEIGHTS: Mapping[Method, Weights] = {
    Method.DENSE: Weights(1, 0, 0),
    Method.SPARSE: Weights(0, 1, 0),
    Method.COLBERT: Weights(0, 0, 1),
    Method.DENSE_SPARSE: Weights(1, 0.3, 0),
    Method.FUSION: Weights(1, 0.3, 1),
}

FUSING: tuple[Method, ...] = tuple(
    method for method, weights in METHOD_WEIGHTS.items() if weights.as_tuple().count(0) < 2
)
"""The methods whose weights say something."""

PRESETS: Mapping[str, Weights] = {
    "model-card": Weights(0.4, 0.2, 0.4),
    "mkqa": Weights(1, 0.3, 1),
    "mldr": Weights(0.15, 0.5, 0.35),
}
"""Weights that BGE-M3's authors publish, by where they use them."""


def preset_named(name: str) -> Weights:
    """Raises InvalidInput, with the presets there are."""
    if name not in PRESETS:
        raise InvalidInput(f"unknown weights {name!r}; presets: {', '.join(PRESETS)}")
    return PRESETS[name]


def fuse(scores: F32, weights: Weights) -> F64:
    """[n] fp64: Σwᵢsᵢ / Σwᵢ over the columns of `scores` [n, 3]."""
    w = np.array(weights.as_tuple(), np.float64)
    return (scores * w).sum(axis=1) / w.sum()


def ranked(scores: F64, ids: Sequence[str]) -> list[int]:
    """Row numbers, best score first, equal scores in the order of their ids."""
    order = np.argsort(-scores, kind="stable")
    best = scores[order]
    if not (best[1:] == best[:-1]).any():
        return order.tolist()
    return sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))
