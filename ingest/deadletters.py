"""What could not be ingested, kept beside the data, so that nothing is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import orjson

from ingest.sources import Reject
from m3.errors import StorageFull

FOLDER = "dead-letters"


class DeadLetters:
    """A file of JSON lines, `COLLECTION-TIME.jsonl`; it exists once there is something in it.

    Each line has `document` (an id or null), `source` (a path), `line`, `stage`, `error` and
    `raw` (the row as it stood, or null where it is long), and is written when `add` returns.
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

    def add(self, reject: Reject) -> None:
        """Raises StorageFull where it cannot be written."""
        line = orjson.dumps(
            {
                "document": reject.document,
                "source": reject.place.path,
                "line": reject.place.line,
                "stage": reject.stage,
                "error": reject.reason,
                "raw": reject.raw,
            },
            option=orjson.OPT_APPEND_NEWLINE,
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
