"""Which lines of the shipped dashboards moved while a drill's Prometheus looked on."""

from __future__ import annotations

import time
from typing import Any

from tests.deploy.dashboards import expressions
from tests.drills.watching import Watch, shorter


def moved(watch: Watch, since: float) -> set[str]:
    """Names of lines of which a series took two values, from then (Unix time) to now."""
    # What was scraped last lies between two steps.
    time.sleep(2)
    span = {"start": str(since), "end": str(time.time()), "step": "1"}
    return {
        name
        for name, expression in expressions().items()
        if any(
            len(_values(series)) > 1
            for series in watch.ask("query_range", query=shorter(expression), **span)["result"]
        )
    }


def _values(series: dict[str, Any]) -> set[str]:
    """Those that are numbers."""
    return {value for _, value in series["values"]} - {"NaN"}
