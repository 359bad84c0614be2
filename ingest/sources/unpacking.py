"""gzip and zstd, told by their first bytes, with a limit on what they unpack to."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import PurePath
from typing import IO, cast

from ingest.sources.base import Stream
from m3.errors import InvalidInput

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError, ZstdFile
else:
    from backports.zstd import ZstdError, ZstdFile

PACKED = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
"""Suffixes that come after a format's own."""

MAX_RATIO = 256
"""Bytes out of a byte in, over each window. Repetitive logs reach 50; gzip's own end is 1,032."""

WINDOW_BYTES = 32 * 2**20
"""Small files may be packed as tightly as they like: their documents are limited anyway."""

ERRORS = (EOFError, zlib.error, ZstdError)
"""What broken packing raises in the middle of reading; gzip adds OSErrors."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_MAGIC = b"\x2a\x4d\x18"
_BUFFER_BYTES = 256 * 1024


def bare(name: str) -> str:
    """A name without the suffix of its packing."""
    suffix = PurePath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in PACKED else name


def is_packed(name: str) -> bool:
    return bare(name) != name


@contextmanager
def unpacked(stream: Stream, name: str) -> Generator[Stream]:
    """A file's own bytes; every gzip member and every zstd frame of it, one after another.

    Raises:
        InvalidInput: by its name it is packed, by its content not; while reading, it unpacks to
            suspiciously much.
    """
    kind = _kind(_first_bytes(stream))
    promised = PACKED.get(PurePath(name).suffix.lower())
    if promised and kind != promised:
        raise InvalidInput(f"it is named as {promised}, but is not packed so")
    if kind is None:
        yield stream
        return
    counted = _Counted(stream)
    source = cast(IO[bytes], counted)
    with gzip.GzipFile(fileobj=source) if kind == "gzip" else ZstdFile(source) as packed:
        yield io.BufferedReader(_Limited(cast(Stream, packed), counted), _BUFFER_BYTES)


def _first_bytes(stream: Stream) -> bytes:
    peek = getattr(stream, "peek", None)
    return bytes(peek(4)[:4]) if peek is not None else b""


def _kind(first: bytes) -> str | None:
    if first.startswith(_GZIP_MAGIC):
        return "gzip"
    skippable = first[1:] == _SKIPPABLE_MAGIC and 0x50 <= first[0] <= 0x5F
    return "zstd" if first == _ZSTD_MAGIC or skippable else None


class _Counted(io.RawIOBase):
    """Counts what is taken from a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        count = self._stream.readinto(buffer)
        self.taken += count
        return count


class _Limited(io.RawIOBase):
    """What is unpacked, until a window of it came out of too little."""

    def __init__(self, packed: Stream, source: _Counted) -> None:
        self._packed = packed
        self._source = source
        self._out = 0
        self._in_before = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        count = self._packed.readinto(buffer)
        self._out += count
        if self._out > WINDOW_BYTES:
            if self._out > MAX_RATIO * (self._source.taken - self._in_before):
                raise InvalidInput(
                    f"it unpacks to over {MAX_RATIO} times its size, as a bomb does: "
                    "unpack it yourself if you trust it"
                )
            self._out, self._in_before = 0, self._source.taken
        return count
