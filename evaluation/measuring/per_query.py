"""Figures query by query as a CSV: what `eval --per-query` writes and `compare` reads."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.measuring.quality import Measured
from m3.errors import InvalidInput

_FIRST = ["query", "method"]
_HEAD = ",".join(_FIRST).encode()
_LINE = 100
"""Bytes of a first line that are looked at."""

Table = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By method and query: the value of each metric."""


def write(path: Path, measured: Sequence[Measured]) -> None:
    """A line for each query and method."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = list(measured[0].values) if measured else []
        writer.writerow([*_FIRST, *names])
        for each in measured:
            for i, query in enumerate(each.queries):
                figures = [f"{each.values[name][i]:.6f}" for name in names]
                writer.writerow([query, each.method.value, *figures])


def is_one(path: Path) -> bool:
    """Whether a file begins as such a table does."""
    try:
        with path.open("rb") as file:
            return file.readline(_LINE).removeprefix(codecs.BOM_UTF8).startswith(_HEAD)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error


def read(path: Path) -> Table:
    """Raises InvalidInput, with file and line, for what `write` would not have written."""
    try:
        return _read(path)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not text in UTF-8") from error


def _read(path: Path) -> Table:
    table: dict[str, dict[str, dict[str, float]]] = {}
    # Excel writes a byte order mark where it saves one again.
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        names = next(rows)[len(_FIRST) :]
        for row in rows:
            place = f"{path}:{rows.line_num}"
            if len(row) != len(_FIRST) + len(names):
                raise InvalidInput(f"{place}: {len(row)} columns in place of {len(_FIRST + names)}")
            query, method, *figures = row
            queries = table.setdefault(method, {})
            if query in queries:
                raise InvalidInput(f"{place}: query {query!r} is there twice for {method}")
            try:
                queries[query] = dict(zip(names, map(float, figures), strict=True))
            except ValueError as error:
                raise InvalidInput(f"{place}: {error}") from error
    return table
