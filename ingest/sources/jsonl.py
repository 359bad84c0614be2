"""JSON lines: one object a line, as BEIR and most exports have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import orjson

from ingest.sources.base import (
    BOM,
    MAX_DOCUMENT_BYTES,
    Parsed,
    Reject,
    SourceFile,
    Stream,
    decoded,
    kept,
    refuse_binary,
    too_long,
)
from ingest.sources.fields import Fields, type_name
from m3.errors import InvalidInput

_SKIP_BYTES = 2**20


class Jsonl:
    """Fields that are not id, text or title are metadata, as is what `metadata` holds."""

    name = "jsonl"
    suffixes = (".jsonl", ".ndjson")

    def read(self, file: SourceFile, stream: Stream, fields: Fields) -> Iterator[Parsed | Reject]:
        refuse_binary(stream)
        for number, line, size in _lines(stream):
            place = file.place(number)
            if line is None:
                yield Reject(place, too_long("the line"), size=size)
                continue
            if not line.strip():
                continue
            try:
                yield Parsed(fields.of_record(_record(line)), place, size=size)
            except InvalidInput as error:
                yield Reject(place, error.message, raw=kept(line), size=size)


def _lines(stream: Stream) -> Iterator[tuple[int, bytes | None, int]]:
    """Each line's number, its bytes (None where they are too many) and how many it has."""
    number = 0
    while line := stream.readline(MAX_DOCUMENT_BYTES + 1):
        number += 1
        size = len(line)
        if size > MAX_DOCUMENT_BYTES and not line.endswith(b"\n"):
            line = b""
            size += _skip_line(stream)
            yield number, None, size
        else:
            yield number, line.removeprefix(BOM) if number == 1 else line, size


def _skip_line(stream: Stream) -> int:
    """Read past the end of a line, a piece at a time. Returns how many bytes that was."""
    skipped = 0
    while piece := stream.readline(_SKIP_BYTES):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def _record(line: bytes) -> dict[str, Any]:
    text = decoded(line)
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"invalid JSON at character {error.pos + 1}: {error.msg}") from error
    if not isinstance(record, dict):
        raise InvalidInput(f"the line is {type_name(record)}, not an object")
    return cast(dict[str, Any], record)
