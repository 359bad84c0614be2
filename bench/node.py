"""A real node to measure: a process tree on cores of its own, its memory, CPU and metrics."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench.worker import thread_limits
from commands.stack import command, stack

Metrics = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is ready."""

    url: str
    process: psutil.Process

    def pss(self) -> int:
        """Bytes of the process tree, each shared page counted once."""
        return sum(_pss(process) for process in self._tree())

    def cpu(self) -> float:
        """CPU seconds of the process tree so far."""
        times = [process.cpu_times() for process in self._tree()]
        return sum(time.user + time.system for time in times)

    def metrics(self) -> Metrics:
        """Every sample of `/metrics`."""
        page = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=30).raise_for_status()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page.text)
            for sample in family.samples
        }

    def _tree(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextmanager
def node(
    folder: Path, *, precision: str, cores: Sequence[int], settings: Mapping[str, str] | None = None
) -> Generator[Node]:
    """A node on these cores, with as many threads, for the length of a block."""
    with tempfile.TemporaryDirectory() as home:
        environment = {
            "M3_HOME": home,
            "M3_MODEL": str(folder),
            "M3_PRECISION": precision,
            **thread_limits(len(cores)),
            **(settings or {}),
        }
        with stack(environment, Path(home) / "logs") as servers:
            others = set(psutil.Process().children())
            with pinned(cores):
                url = servers.start("m3-embedder", [command("m3-embedder"), "serve", "--port", "0"])
            (process,) = set(psutil.Process().children()) - others
            yield Node(url, process)


@contextmanager
def pinned(cores: Sequence[int]) -> Generator[None]:
    """This thread, and what it starts meanwhile, on these cores alone, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cores() -> list[int]:
    """Those this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def total(metrics: Metrics, name: str, **labels: str) -> float:
    """The sum of the samples of that name that have these labels."""
    wanted = labels.items()
    return sum(
        value for (found, tags), value in metrics.items() if found == name and tags >= wanted
    )


def quantile(before: Metrics, after: Metrics, name: str, q: float, **labels: str) -> float:
    """An upper bound of a histogram's quantile between two scrapes; 0 where nothing was added."""
    wanted = labels.items()
    added = sorted(
        (float(dict(tags)["le"]), value - before.get((found, tags), 0))
        for (found, tags), value in after.items()
        if found == f"{name}_bucket" and tags >= wanted
    )
    if not added or not added[-1][1]:
        return 0.0
    return next(bound for bound, count in added if count >= q * added[-1][1])


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
