"""CSV and its kin: a header, then one document a row."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ingest.sources.base import (
    BOM,
    MAX_DOCUMENT_BYTES,
    Parsed,
    Place,
    Reject,
    SourceFile,
    Stream,
    kept,
    refuse_binary,
    too_long,
)
from ingest.sources.fields import Fields
from m3.errors import InvalidInput

_TABS = (".tsv", ".tab")
_DELIMITERS = ",;\t|"
_SKIP_BYTES = 2**20


class Delimited:
    """Columns that are not id, text or title are metadata; an empty cell is a missing value."""

    name = "csv"
    suffixes = (".csv", *_TABS)

    def read(self, file: SourceFile, stream: Stream, fields: Fields) -> Iterator[Parsed | Reject]:
        refuse_binary(stream)
        csv.field_size_limit(MAX_DOCUMENT_BYTES)
        lines = _Lines(stream)
        header_line = lines.first()
        delimiter = fields.delimiter or _delimiter(header_line, file.id)
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        columns = _columns(rows)
        fields.check_columns(columns)
        while True:
            start = lines.number + 1
            lines.raw.clear()
            try:
                row = next(rows)
                if any(cell.strip() for cell in row) or len(row) == len(columns) > 1:
                    document = fields.of_record(_record(row, columns))
                    yield Parsed(document, file.place(start), size=lines.taken())
            except StopIteration:
                return
            except (InvalidInput, csv.Error) as error:
                yield _reject(error, lines, file.place(start))


class _Lines:
    """A file's lines as text, counted, with the bytes of the row that is being read."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._given = 0
        self._first: bytes | None = None
        self.number = 0
        self.raw = bytearray()

    def first(self) -> str:
        """The first line that says something, which is read again.

        Raises:
            InvalidInput: there is none, or it is too long.
        """
        while line := self._read():
            if line.removeprefix(BOM).strip():
                self._first = line
                self.number -= 1
                return line.removeprefix(BOM).decode("utf-8", "replace")
        raise InvalidInput("it is empty: there is no header")

    def taken(self) -> int:
        """Bytes read since this was asked before."""
        taken, self._given = self._given, 0
        return taken

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line, self._first = self._first, None
        if line is None:
            line = self._read()
        else:
            self.number += 1
        if not line:
            raise StopIteration
        self.raw += line
        if len(self.raw) > MAX_DOCUMENT_BYTES:
            raise InvalidInput(too_long("the row"))
        # What is no UTF-8 is found in the row that it belongs to.
        return line.removeprefix(BOM).decode("utf-8", "surrogateescape")

    def _read(self) -> bytes:
        line = self._stream.readline(MAX_DOCUMENT_BYTES + 1)
        self.number += bool(line)
        self._given += len(line)
        if len(line) > MAX_DOCUMENT_BYTES and not line.endswith(b"\n"):
            while piece := self._stream.readline(_SKIP_BYTES):
                self._given += len(piece)
                if piece.endswith(b"\n"):
                    break
            self.raw.clear()
            raise InvalidInput(too_long("the row"))
        return line


def _columns(rows: Iterator[list[str]]) -> list[str]:
    try:
        header = next(row for row in rows if row)
    except csv.Error as error:
        raise InvalidInput(f"its header cannot be read: {error}") from error
    _check_cells(header)
    columns = [name.strip() or f"column_{n}" for n, name in enumerate(header, start=1)]
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise InvalidInput(f"its header has column {twice[0]!r} twice")
    return columns


def _record(row: Sequence[str], columns: Sequence[str]) -> dict[str, Any]:
    if len(row) != len(columns):
        raise InvalidInput(f"the row has {len(row)} cells, the header {len(columns)}")
    _check_cells(row)
    return {name: cell for name, cell in zip(columns, row, strict=True) if cell}


def _check_cells(cells: Sequence[str]) -> None:
    for number, cell in enumerate(cells, start=1):
        if "\0" in cell:
            raise InvalidInput(f"cell {number} has a zero byte")
        try:
            cell.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"cell {number} is not UTF-8: save the file as that") from error


def _delimiter(header: str, identifier: str) -> str:
    """By the file's name, or else whichever stands most often in the header, outside quotes."""
    if identifier.lower().endswith(_TABS):
        return "\t"
    counts = Counter(character for part in header.split('"')[::2] for character in part)
    return max(_DELIMITERS, key=lambda delimiter: counts[delimiter])


def _reject(error: Exception, lines: _Lines, place: Place) -> Reject:
    reason = error.message if isinstance(error, InvalidInput) else _plainly(str(error))
    return Reject(place, reason, raw=kept(bytes(lines.raw)), size=lines.taken())


def _plainly(reason: str) -> str:
    if "unexpected end of data" in reason:
        return "a quote is opened and never closed: all rows from here are one"
    if "field larger than field limit" in reason:
        return too_long("the cell")
    return f"malformed row: {reason}"
