"""What could not be ingested, kept beside the data with all that another try needs."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import orjson
from pydantic import TypeAdapter, ValidationError

from ingest.sources import Fields, Place, Reject
from ingest.sources.base import Stage
from m3.errors import InvalidInput, StorageFull
from m3.types import Document

FOLDER = "dead-letters"
_NAME = re.compile(r"(.+)-\d{8}T\d{6}Z(?:-\d+)?\.jsonl")
STDIN = "stdin"
"""What standard input is called; it cannot be read again."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run was told to read, and how.

    Attributes:
        paths: as they were given, without what is secret in addresses.
        folder: what relative ones begin at.
        format: None goes by suffix.
        allow_private: of http(s) addresses.
    """

    paths: tuple[str, ...] = ()
    format: str | None = None
    parser: str | None = None
    fields: Fields = field(default_factory=Fields)
    folder: str = field(default_factory=os.getcwd)
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class Letter:
    """A document that failed: a line of a dead-letter file.

    Attributes:
        document: its id, where one is known.
        source, line: where it stands; `line` is None where there are no lines.
        raw: the row as it stood, or None where it is long.
        given: the document, where its source cannot be read again.
        first: where the run met another document of its id before.
        run: of which it is.
    """

    document: str | None
    source: str
    line: int | None
    stage: Stage
    error: str
    raw: str | None
    given: Document | None
    run: Origin
    first: Place | None = None


_LETTER = TypeAdapter(Letter)


class DeadLetters:
    """A file of JSON lines, `COLLECTION-TIME.jsonl`; it exists once there is something in it.

    A line is a `Letter`, and is written when `add` returns.
    """

    def __init__(self, home: Path, collection: str) -> None:
        self._folder = home / FOLDER
        self._stem = f"{collection}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        self._file: BinaryIO | None = None
        self.path: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()

    def add(self, reject: Reject, run: Origin) -> None:
        """Raises StorageFull where it cannot be written."""
        letter = Letter(
            document=reject.document,
            source=reject.place.path,
            line=reject.place.line,
            stage=reject.stage,
            error=reject.reason,
            raw=reject.raw,
            given=reject.given if reject.place.path == STDIN else None,
            run=run,
            first=reject.first,
        )
        line = orjson.dumps(
            _LETTER.dump_python(letter, mode="json"), option=orjson.OPT_APPEND_NEWLINE
        )
        try:
            file = self._file or self._opened()
            file.write(line)
        except OSError as error:
            raise StorageFull(
                f"cannot write dead letters to {self._folder}: {error.strerror}; "
                "make room there, or set M3_HOME"
            ) from error

    def _opened(self) -> BinaryIO:
        """A file of this run alone, also where another one began in the same second."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = self._folder / f"{self._stem}{f'-{number}' if number > 1 else ''}.jsonl"
            try:
                self._file = path.open("xb", buffering=0)
            except FileExistsError:
                continue
            self.path = path
            return self._file
        raise AssertionError("count() does not end")


def waiting(home: Path) -> Counter[str]:
    """Letters that nobody has taken up yet, by collection."""
    found = Counter[str]()
    for path in (home / FOLDER).glob("*.jsonl"):
        named = _NAME.fullmatch(path.name)
        if named:
            with path.open("rb") as file:
                found[named[1]] += sum(1 for line in file if line.strip())
    return found


def read_letters(path: Path) -> Iterator[Letter]:
    """The letters of a file.

    Raises:
        InvalidInput: it cannot be read, or a line of it is none.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _letter(line, f"{path}:{number}")


def _letter(line: bytes, place: str) -> Letter:
    try:
        return _LETTER.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        raise InvalidInput(f"{place} is no dead letter of m3-ingest: {reason}") from error
