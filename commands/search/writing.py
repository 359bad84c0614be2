"""Files that `m3-search eval` writes beside what it prints: figures by query, and runs."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.measuring import per_query, run_files
from m3.errors import InvalidInput

if TYPE_CHECKING:
    from commands.search.measuring import Evaluation


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where each query's figures and each method's ranking go; None is nowhere."""

    table: Path | None
    runs: Path | None

    def check(self) -> None:
        """Made sure of before hours of work. Raises InvalidInput for a place that is none."""
        if self.table is not None:
            with _told(self.table):
                was_there = self.table.exists()
                self.table.open("a").close()
                if not was_there:
                    self.table.unlink()
        if self.runs is not None:
            with _told(self.runs):
                self.runs.mkdir(parents=True, exist_ok=True)

    def write(self, found: Evaluation) -> None:
        """Raises InvalidInput for what cannot be written, an id with white space in a run too."""
        if self.table is not None:
            with _told(self.table):
                per_query.write(self.table, found.methods)
        if self.runs is not None:
            for each in found.methods:
                path = self.runs / f"{each.method}.run"
                with _told(path):
                    run_files.write(each.run, path, f"{found.collection.name}-{each.method}")


@contextmanager
def _told(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from error
