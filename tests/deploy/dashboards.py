"""The shipped dashboards' panels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

DASHBOARDS = sorted((Path(__file__).parents[2] / "deploy/grafana/dashboards").glob("*.json"))


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each with its name."""
    for file in DASHBOARDS:
        for panel in orjson.loads(file.read_bytes())["panels"]:
            yield f"{file.stem}: {panel['title']}", panel


def expressions() -> dict[str, str]:
    """What each line of each panel shows, by name."""
    return {
        f"{name} {target['refId']}": target["expr"]
        for name, panel in panels()
        for target in panel["targets"]
    }
