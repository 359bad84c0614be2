"""What drills leave under bench/results/: figures of fleets, and which dashboards moved."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import orjson
import pytest

from bench.measure import RESULTS, Result
from tests.deploy import dashboards
from tests.drills import watching
from tests.drills.moving import moved

Tell: TypeAlias = Callable[..., None]
_NAME = "fleet-drills"
_COUNTS = ("calls", "failed", "raw")
"""Columns: our client's calls, how many of them failed, and how many of the raw client's."""
_ROWS = pytest.StashKey[list[dict[str, Any]]]()
_MOVED = pytest.StashKey[dict[str, str]]()


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


@pytest.fixture
def prometheus(request: pytest.FixtureRequest) -> watching.Starts:
    """Start a Prometheus that a drill is seen by, and keep which lines of dashboards moved."""
    kept = request.config.stash.setdefault(_MOVED, {})

    @contextmanager
    def start(
        folder: Path, targets: watching.Targets, *, prober: str = ""
    ) -> Iterator[watching.Watch]:
        began = time.time()
        with watching.prometheus(folder, targets, prober=prober) as watch:
            yield watch
            kept.update(dict.fromkeys(moved(watch, began), request.node.name))

    return start


def pytest_terminal_summary(config: pytest.Config) -> None:
    if told := config.stash.get(_ROWS, []):
        names = {row["what"] for row in told}
        result = Result(
            _NAME, [*(row for row in _before(_NAME) if row["what"] not in names), *told]
        )
        result.show()
        result.save()
    if found := config.stash.get(_MOVED, {}):
        lines = dashboards.expressions()
        seen = {row["what"]: row for row in _before("panels")}
        seen |= {what: {"shows": lines[what], "drill": drill} for what, drill in found.items()}
        rows = [{"what": what, **seen[what]} for what in lines if what in seen]
        Result("panels", rows, {"moved": f"{len(rows)} of {len(lines)}"}).save()


def _before(name: str) -> list[dict[str, Any]]:
    """Rows of earlier runs: a drill may be run alone."""
    path = RESULTS / f"{name}.json"
    return orjson.loads(path.read_bytes())["figures"] if path.exists() else []
