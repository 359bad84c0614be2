"""JSON lines: one object a line, as BEIR and most exports have it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import orjson

from ingest.sources.base import (
    BOM,
    MAX_DOCUMENT_BYTES,
    Fields,
    Parsed,
    Reject,
    SourceFile,
    Stream,
    decoded,
    kept,
    refuse_binary,
    too_long,
)
from m3.errors import InvalidInput
from m3.types import Document

_SKIP_BYTES = 2**20
_TYPES = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}


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
                yield Parsed(_document(line, fields), place, size=size)
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


def _document(line: bytes, fields: Fields) -> Document:
    record = _record(line)
    identifier = _identifier(record, fields)
    text = _text(record, fields.text, required=True)
    title = _text(record, fields.title, required=False)
    metadata = record.pop("metadata", None)
    if isinstance(metadata, dict):
        record |= cast(dict[str, Any], metadata)
    elif metadata is not None:
        record["metadata"] = metadata
    return fields.document(identifier, text, title, record)


def _record(line: bytes) -> dict[str, Any]:
    text = decoded(line)
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"invalid JSON at character {error.pos + 1}: {error.msg}") from error
    if not isinstance(record, dict):
        raise InvalidInput(f"the line is {_type(record)}, not an object")
    return cast(dict[str, Any], record)


def _identifier(record: dict[str, Any], fields: Fields) -> str:
    """The id, taken out of the record. Whole numbers count as text: many exports have them."""
    names = (fields.id,) if fields.id is not None else ("_id", "id")
    name = next((name for name in names if name in record), None)
    if name is None:
        raise InvalidInput(f"there is no field {' or '.join(map(repr, names))} for the id")
    value = record.pop(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InvalidInput(f"field {name!r} is {_type(value)}, not an id")
    return value


def _text(record: dict[str, Any], name: str, *, required: bool) -> str:
    """A field of text, taken out of the record; one that may be missing may be null too."""
    value = record.pop(name, None if required else "")
    if value is None and not required:
        return ""
    if value is None:
        raise InvalidInput(f"there is no field {name!r} with the text")
    if not isinstance(value, str):
        raise InvalidInput(f"field {name!r} is {_type(value)}, not text")
    return value


def _type(value: Any) -> str:
    return "null" if value is None else _TYPES.get(cast(type[Any], type(value)), "an object")
