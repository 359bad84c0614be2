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
    return processor(cpuinfo.read_text()) if cpuinfo.exists() else platform.processor()


def processor(cpuinfo: str) -> str:
    """The first processor's name, and on x86 what tells it from others that are called the same."""
    lines = (line.partition(":") for line in cpuinfo.partition("\n\n")[0].splitlines())
    facts = {name.strip(): value.strip() for name, _, value in lines}
    name = facts.get("model name", platform.processor())
    if "cpu family" not in facts:
        return name
    return f"{name}, family {facts['cpu family']}, model {facts['model']}"


@dataclass(frozen=True, slots=True)
class Seconds:
    """What one run took: by the clock, and of processors."""

    wall: float
    cpu: float


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

    def cpu_ratio(self, other: Timing) -> float:
        """How many times this one's CPU seconds are the other's: the median over the rounds."""
        return _ratio(self.cpu, other.cpu)

    def wall_ratio(self, other: Timing) -> float:
        """As `cpu_ratio`, by the clock."""
        return _ratio(self.wall, other.wall)


def _ratio(ours: list[float], others: list[float]) -> float:
    """Pair by pair, as runs of one round met the same machine; extra rounds of either are left."""
    return statistics.median(one / other for one, other in zip(ours, others, strict=False))


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
        columns = list(dict.fromkeys(name for figure in self.figures for name in figure))
        for column in columns:
            table.add_column(column, justify="left" if column == "what" else "right")
        for figure in self.figures:
            table.add_row(*(_shown(figure.get(column)) for column in columns))
        Console().print(table)
        for name, note in self.notes.items():
            Console().print(f"  {name}: {note}", highlight=False)


def interleaved(
    contenders: Mapping[str, Callable[[], Seconds]], *, repeats: int = 7, warmups: int = 1
) -> list[Timing]:
    """Run each in turn, `repeats` times after the warm-ups."""
    timings = {name: Timing(name, [], []) for name in contenders}
    for round_ in range(warmups + repeats):
        for name, contender in contenders.items():
            took = contender()
            if round_ >= warmups:
                timings[name].wall.append(took.wall)
                timings[name].cpu.append(took.cpu)
    return list(timings.values())


def timed(contender: Callable[[], object]) -> Callable[[], Seconds]:
    """A contender that runs in this process."""

    def run() -> Seconds:
        wall, cpu = time.perf_counter(), time.process_time()
        contender()
        return Seconds(time.perf_counter() - wall, time.process_time() - cpu)

    return run


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
