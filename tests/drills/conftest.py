"""Figures of the fleet's drills: a table at the end of a run, kept under bench/results/."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeAlias

import orjson
import pytest

from bench.measure import RESULTS, Result

Tell: TypeAlias = Callable[..., None]
_NAME = "fleet-drills"
_COUNTS = ("calls", "failed", "raw")
"""Columns: our client's calls, how many of them failed, and how many of the raw client's."""
_ROWS = pytest.StashKey[list[dict[str, Any]]]()


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Keep a drill's figures, under the test's own name."""
    rows = request.config.stash.setdefault(_ROWS, [])

    what = request.node.name.translate({ord("["): " (", ord("]"): ")"})

    def keep(**figures: Any) -> None:
        counts = {name: figures.pop(name, None) for name in _COUNTS}
        also = [f"{name} {_shown(value)}" for name, value in figures.items()]
        if nodes := os.environ.get("DRILL_NODES"):
            also.append(f"{nodes} nodes")
        rows.append({"what": what, **counts, "also": ", ".join(also)})

    return keep


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def pytest_terminal_summary(config: pytest.Config) -> None:
    rows = config.stash.get(_ROWS, [])
    if not rows:
        return
    told = {row["what"] for row in rows}
    result = Result(_NAME, [*(row for row in _before() if row["what"] not in told), *rows])
    result.show()
    result.save()


def _before() -> list[dict[str, Any]]:
    """Rows of earlier runs: a drill may be run alone."""
    path = RESULTS / f"{_NAME}.json"
    return orjson.loads(path.read_bytes())["figures"] if path.exists() else []
