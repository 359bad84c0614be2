"""What `m3-ingest bulk write` leaves beside its files: there once all of them were read back."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from pydantic import TypeAdapter

from m3.errors import Corrupt, NewerFormat

NAME = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class File:
    """A Parquet file under its place; `bytes` on disk."""

    name: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one part of a version's rows.

    Attributes:
        table: of the generation whose rows they are.
        version: of that table.
        part: of `parts`, counted from 0.
    """

    collection: str
    table: str
    version: int
    part: int
    parts: int
    files: tuple[File, ...]

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


_TYPE = TypeAdapter(Manifest)


def serialise(manifest: Manifest) -> bytes:
    body = {"format": _FORMAT, **_TYPE.dump_python(manifest, mode="json")}
    return orjson.dumps(body, option=orjson.OPT_INDENT_2)


def parse(address: str, data: bytes) -> Manifest:
    """Raises Corrupt, NewerFormat."""
    try:
        body = orjson.loads(data)
        if int(body["format"]) > _FORMAT:
            raise NewerFormat(f"{address}/{NAME} was written by a newer version: upgrade")
        return _TYPE.validate_python(body)
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(f"{address}/{NAME} cannot be read: write the files again") from error
