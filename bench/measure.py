"""Interleaved timing: A B A B …, so that a machine whose speed drifts is fair to both."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def _machine() -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of repeated runs of one contender."""

    name: str
    wall: list[float]
    cpu: list[float]

    @property
    def median_wall(self) -> float:
        return statistics.median(self.wall)

    @property
    def median_cpu(self) -> float:
        return statistics.median(self.cpu)


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark: what was measured, where, and the figures."""

    name: str
    figures: list[dict[str, Any]]
    notes: dict[str, Any] = field(default_factory=dict[str, Any])
    machine: dict[str, Any] = field(default_factory=_machine)
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def save(self) -> Path:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        path.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2) + b"\n")
        return path

    def show(self) -> None:
        table = Table(title=self.name, title_justify="left")
        for column in self.figures[0]:
            table.add_column(column, justify="left" if column == "what" else "right")
        for figure in self.figures:
            table.add_row(*(_shown(value) for value in figure.values()))
        Console().print(table)
        for name, note in self.notes.items():
            Console().print(f"  {name}: {note}", highlight=False)


def interleaved(
    contenders: Mapping[str, Callable[[], object]], *, repeats: int = 7, warmups: int = 1
) -> list[Timing]:
    """Run each in turn, `repeats` times after the warm-ups."""
    timings = {name: Timing(name, [], []) for name in contenders}
    for round_ in range(warmups + repeats):
        for name, contender in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time()
            contender()
            if round_ >= warmups:
                timings[name].wall.append(time.perf_counter() - wall)
                timings[name].cpu.append(time.process_time() - cpu)
    return list(timings.values())


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
