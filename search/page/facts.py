"""What the page knows of the API before it asks: methods, presets, operators, limits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from scoring.fusion import METHOD_WEIGHTS, PRESETS
from search.request import DEFAULT_CANDIDATES, MAX_CANDIDATES, MAX_QUERY_CHARACTERS
from store.filters import OPERATORS


def facts() -> dict[str, Any]:
    """JSON values, from where each is defined."""
    return {
        "methods": {method.value: asdict(weights) for method, weights in METHOD_WEIGHTS.items()},
        "presets": {name: asdict(weights) for name, weights in PRESETS.items()},
        "operators": {type_.value: sorted(names) for type_, names in OPERATORS.items()},
        "limits": {
            "candidates": MAX_CANDIDATES,
            "query": MAX_QUERY_CHARACTERS,
        },
        "candidates": DEFAULT_CANDIDATES,
    }
