"""How far a run has come: a bar on a terminal, lines elsewhere, JSON where logs are, on stderr."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Protocol

import structlog
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from commands.counting import LINE_SECONDS
from ingest.running.report import Report
from m3.settings import Settings
from serving import logs

_LINES_OF_SPEED = 6


class Display(Protocol):
    """Something that a run is shown on."""

    def update(self, report: Report) -> None: ...

    def note(self, line: str) -> None:
        """A line of its own, such as a document that failed."""
        ...

    def end(self) -> None:
        """Leave the screen as it was found; called once more before a sudden end."""
        ...


@contextmanager
def display(total_bytes: int | None, settings: Settings | None = None) -> Generator[Display]:
    """For the length of a run; `total_bytes` of its sources, where that is known.

    JSON lines as servers log them where the settings' log format is that.
    """
    if settings is not None and settings.log_format == "json":
        logs.configure(settings)
        yield _Logged(total_bytes)
        return
    screen = Console(stderr=True, highlight=False, soft_wrap=True)
    if not screen.is_terminal:
        yield _Lines(screen, total_bytes)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=False),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with Progress(*columns, console=screen, transient=True) as progress:
        yield _Bar(progress, total_bytes)


class _Bar:
    def __init__(self, progress: Progress, total_bytes: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("ingesting", total=total_bytes, counts="")

    def update(self, report: Report) -> None:
        self._progress.update(self._task, completed=report.bytes, counts=counts(report))

    def note(self, line: str) -> None:
        self._progress.console.print(line, markup=False)

    def end(self) -> None:
        self._progress.stop()


class _Lines:
    """A line every few seconds, for logs; the time left goes by the speed of the last few."""

    def __init__(self, screen: Console, total_bytes: int | None) -> None:
        self._screen = screen
        self._total_bytes = total_bytes
        self._shown = deque([(time.monotonic(), 0)], maxlen=_LINES_OF_SPEED)

    def update(self, report: Report) -> None:
        now = time.monotonic()
        if now - self._shown[-1][0] >= LINE_SECONDS:
            self.note(f"{counts(report)}{self._left(report.bytes, now)}")
            self._shown.append((now, report.bytes))

    def note(self, line: str) -> None:
        self._screen.print(line, markup=False)

    def end(self) -> None:
        pass

    def _left(self, done: int, now: float) -> str:
        before, done_before = self._shown[0]
        if not self._total_bytes or done <= done_before:
            return ""
        left = max(0, self._total_bytes - done) * (now - before) / (done - done_before)
        part = min(1.0, done / self._total_bytes)
        return f", {part:.0%}, about {timedelta(seconds=round(left))} left"


class _Logged:
    """An event every few seconds, for what collects logs."""

    def __init__(self, total_bytes: int | None) -> None:
        self._total_bytes = total_bytes
        self._log = structlog.stdlib.get_logger("m3.ingest")
        self._shown = time.monotonic()

    def update(self, report: Report) -> None:
        if time.monotonic() - self._shown >= LINE_SECONDS:
            self._shown = time.monotonic()
            rate = round(report.tokens / max(report.seconds, 1e-3))
            self._log.info(
                "ingesting", **asdict(report), total_bytes=self._total_bytes, tokens_per_second=rate
            )

    def note(self, line: str) -> None:
        self._log.warning(line)

    def end(self) -> None:
        pass


def counts(report: Report) -> str:
    """What is done and how fast."""
    failed = f", {report.failed:,} failed" if report.failed else ""
    done = report.written + report.unchanged + report.failed
    seconds = max(report.seconds, 1e-3)
    return (
        f"{done:,} documents ({done / seconds:,.0f}/s), {report.chunks:,} chunks, "
        f"{report.tokens / seconds:,.0f} tokens/s{failed}"
    )
