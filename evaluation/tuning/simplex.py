"""Weights that sum to 1: a grid over all of them, and a finer one around some of them."""

from __future__ import annotations

import numpy as np

from scoring.fusion import F64, METHOD_WEIGHTS, Method


def grid(method: Method, steps: int) -> F64:
    """[w, 3] of all weights in steps of 1 / `steps` over the scores that a method fuses."""
    if METHOD_WEIGHTS[method].colbert:
        parts = [(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    else:
        parts = [(i, steps - i, 0) for i in range(steps + 1)]
    return np.array(parts, np.float64) / steps


def around(center: F64, method: Method, steps: int, finer: int) -> F64:
    """[w, 3] of the weights in steps of 1 / (steps · finer) within 1 / steps of a center [3]."""
    fine = grid(method, steps * finer)
    return fine[np.abs(fine - center).max(axis=1) <= 1 / steps + 1e-9]
