"""How much of something is done: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

LINE_SECONDS = 5.0
"""Between two lines, of a run as well."""


@contextmanager
def counted(what: str, total: int) -> Generator[Callable[[int], None]]:
    """For something of `total` like parts: a function to tell how many more of them are done."""
    screen = Console(stderr=True, highlight=False, soft_wrap=True)
    if not screen.is_terminal:
        yield _Count(screen, what, total).advance
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(show_speed=False),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)


class _Count:
    """A line every few seconds."""

    def __init__(self, screen: Console, what: str, total: int) -> None:
        self._screen = screen
        self._what = what
        self._total = total
        self._done = 0
        self._shown = time.monotonic()

    def advance(self, count: int) -> None:
        self._done += count
        if time.monotonic() - self._shown >= LINE_SECONDS:
            self._shown = time.monotonic()
            self._screen.print(f"{self._what}: {self._done:,} of {self._total:,}", markup=False)
