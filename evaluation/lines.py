"""Files of lines as evaluation reads them; what is wrong with one is said with its place."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import orjson

from ingest.sources import Place
from m3.errors import InvalidInput

_PACKED = ".gz"


def packed_or_not(path: Path) -> Path | None:
    """The file of that name, or what gzip made of it; None where there is neither."""
    packed = path.with_name(f"{path.name}{_PACKED}")
    return next((file for file in (path, packed) if file.is_file()), None)


def is_packed(path: Path) -> bool:
    """By its name."""
    return path.suffix == _PACKED


def lines(path: Path) -> Iterator[tuple[Place, bytes]]:
    """Those that are not blank, unpacked where the name says so, without a byte order mark.

    Raises:
        InvalidInput: a file that cannot be read, or is not packed as its name says.
    """
    try:
        with gzip.open(path) if is_packed(path) else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                read = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if read.strip():
                    yield Place(str(path), number), read
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path} is not packed as its name says: {error}") from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error


def text_lines(path: Path) -> Iterator[tuple[Place, str]]:
    """As `lines`, without their ends. Raises InvalidInput also for what is not UTF-8."""
    for place, line in lines(path):
        try:
            yield place, line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{place} is not text in UTF-8") from error


def json_object(line: str | bytes, place: object) -> dict[str, Any] | None:
    """None for JSON that is no object. Raises InvalidInput for what is no JSON."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{place}: invalid JSON: {error}") from error
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
