"""Dead letters to documents again, by the way that they came the first time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import groupby
from pathlib import Path

from ingest.deadletters import STDIN, Letter, Origin
from ingest.sources import FORMATS, Parsed, Place, Reject, SourceFile, discover, read
from ingest.sources.files import suffix
from m3.errors import InvalidInput

_LOST = "\N{REPLACEMENT CHARACTER}"
"""Stands in a kept row for bytes that were no UTF-8."""


def again(letters: Iterable[Letter]) -> Iterator[Parsed | Reject]:
    """What each letter is now: read from the row it keeps, else from where it was found.

    At least one item a letter, under the place that it names; for a file that failed as a
    whole, all that is in it. What failed because its id was another document's fails again
    while it has that id: tried alone, it would be written over the other one.
    """
    letters = list(letters)
    repeated = {(_place(each), each.document): each for each in letters if each.first}
    for item in _read(letters):
        letter = repeated.get((item.place, item.document.id)) if isinstance(item, Parsed) else None
        if letter is None:
            yield item
        else:
            yield replace(_lost(letter, letter.error), first=letter.first)


def _read(letters: Iterable[Letter]) -> Iterator[Parsed | Reject]:
    by_file: dict[str, list[Letter]] = {}
    for letter in letters:
        if letter.given is not None:
            yield Parsed(letter.given, _place(letter))
        elif _has_row(letter):
            yield from _from_row(letter)
        else:
            by_file.setdefault(letter.source, []).append(letter)
    for waiting in by_file.values():
        for run, group in groupby(waiting, key=lambda letter: letter.run):
            yield from _from_file(run, list(group))


class Origins:
    """The runs that letters are of, by the places that they name."""

    def __init__(self, letters: Iterable[Letter]) -> None:
        self._runs: dict[Place, Origin] = {}
        for letter in letters:
            self._runs[_place(letter)] = self._runs[Place(letter.source)] = letter.run

    def of(self, reject: Reject) -> Origin:
        """Of a document that fails again, which may stand in a file that failed as a whole."""
        return self._runs.get(reject.place) or self._runs[Place(reject.place.path)]


def _place(letter: Letter) -> Place:
    return Place(letter.source, letter.line)


def _has_row(letter: Letter) -> bool:
    """Whether its row says all: of a table, it says nothing without the header."""
    return letter.raw is not None and _LOST not in letter.raw and _is_jsonl(letter)


def _is_jsonl(letter: Letter) -> bool:
    if letter.run.format is not None:
        return letter.run.format == "jsonl"
    return letter.source == STDIN or suffix(letter.source) in FORMATS["jsonl"].suffixes


def _from_row(letter: Letter) -> Iterator[Parsed | Reject]:
    file = SourceFile(None, letter.source, letter.source, FORMATS["jsonl"])
    stream = BytesIO((letter.raw or "").encode())
    found = [
        replace(item, place=_place(letter))
        for item in file.format.read(file, stream, letter.run.fields)
    ]
    yield from found or [_lost(letter, "its raw is empty: put the record there")]


def _from_file(run: Origin, letters: Sequence[Letter]) -> Iterator[Parsed | Reject]:
    source = letters[0].source
    if source == STDIN:
        for letter in letters:
            yield _lost(letter, f"{letter.error}; it came by standard input: send it again")
        return
    try:
        file = _found(run, source)
    except InvalidInput as error:
        for letter in letters:
            yield _lost(letter, error.message)
        return
    missing = list(letters)
    for item in read([file], run.fields):
        here = replace(item, place=Place(source, item.place.line))
        met = [letter for letter in letters if _is_of(here, letter)]
        if met:
            yield here
            missing = [letter for letter in missing if letter not in met]
    for letter in missing:
        yield _lost(letter, f"{source} has another content now: bring it by m3-ingest run")


def _is_of(item: Parsed | Reject, letter: Letter) -> bool:
    if letter.line is not None and item.place.line != letter.line:
        return False
    known = item.document if isinstance(item, Reject) else item.document.id
    return letter.document is None or known in (None, letter.document)


def _found(run: Origin, source: str) -> SourceFile:
    """The file of that name among those that the run read."""
    wanted = _absolute(run, source)
    for path in run.paths:
        if path == "-":
            continue
        try:
            files = discover(
                [_absolute(run, path)],
                run.format,
                parser=run.parser,
                allow_private=run.allow_private,
            ).files
        except InvalidInput:
            continue
        for file in files:
            if file.name == wanted:
                return file
    raise InvalidInput(f"there is no file {wanted} any more")


def _absolute(run: Origin, path: str) -> str:
    return path if "://" in path else str(Path(run.folder, path))


def _lost(letter: Letter, reason: str) -> Reject:
    return Reject(_place(letter), reason, letter.stage, letter.document, letter.raw)
