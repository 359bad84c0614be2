"""Lines of published files, packed or not; what is wrong with one is said with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evaluation.lines import json_object, lines, packed_or_not, text_lines
from ingest.sources import Place
from m3.errors import InvalidInput


def found(folder: Path, *names: str) -> Path:
    """The first of these files that is there, each packed by gzip or unpacked.

    Raises:
        InvalidInput: none of them is; the message names the first.
    """
    for name in names:
        if (path := packed_or_not(folder / name.removesuffix(".gz"))) is not None:
            return path
    raise InvalidInput(f"{folder / names[0]} is missing: download it to that place")


def records(path: Path, *fields: str) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """The objects of a JSONL file, with their places; blank lines are passed over.

    Raises:
        InvalidInput: a line that is no object, or lacks one of the fields.
    """
    for place, line in lines(path):
        record = json_object(line, place) or {}
        if lacking := [name for name in fields if name not in record]:
            raise InvalidInput(f"{place}: expected an object with {lacking[0]!r}")
        yield place, record


def columns(path: Path, count: int) -> Iterator[tuple[Place, list[str]]]:
    """The lines of a file of so many columns with tabs between, which has no header.

    Raises:
        InvalidInput: a line with more or fewer.
    """
    for place, line in text_lines(path):
        cells = line.split("\t")
        if len(cells) != count:
            raise InvalidInput(f"{place}: expected {count} columns with tabs between")
        yield place, cells
