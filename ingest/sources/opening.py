"""Local files, opened so that what is read is what was found, and nothing else."""

from __future__ import annotations

import io
import os
import stat
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from ingest.sources.base import Opened, Stream
from m3.errors import InvalidInput

MAX_SPOOLED_BYTES = 4 * 2**30
"""Of a packed or remote file whose format needs to go back and forth in it."""

_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class StandardInput:
    """What is piped in; it is left open."""

    @contextmanager
    def open(self) -> Generator[Opened]:
        yield Opened(cast(Stream, sys.stdin.buffer))


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this machine.

    Attributes:
        root: the folder it must lie in, however links lead; None for a file that was named itself.
    """

    path: Path
    root: Path | None = None

    @contextmanager
    def open(self) -> Generator[Opened]:
        """As long as it is now: what is appended while it is read counts the next time.

        Raises:
            InvalidInput: it leads out of the root, or is no file any more.
        """
        # What was checked is what is opened; a pipe in a file's place must not be waited for.
        flags = os.O_RDONLY | os.O_CLOEXEC
        flags |= 0 if self.root is None else os.O_NONBLOCK | os.O_NOFOLLOW
        with open(os.open(self._resolved(), flags), "rb", buffering=_BUFFER_BYTES) as raw:  # noqa: PTH123 - a descriptor
            before = os.fstat(raw.fileno())
            if stat.S_ISREG(before.st_mode):
                stream = io.BufferedReader(_Bounded(raw, before.st_size), _BUFFER_BYTES)
                yield Opened(stream, lambda: _unchanged(before, os.fstat(raw.fileno())))
            elif self.root is None and stat.S_ISFIFO(before.st_mode):
                yield Opened(cast(Stream, raw))
            else:
                raise InvalidInput("it is no file (any more)")

    def _resolved(self) -> Path:
        if self.root is None:
            return self.path
        path = Path(os.path.realpath(self.path, strict=True))
        if not path.is_relative_to(self.root.resolve()):
            raise InvalidInput("a link leads out of the given folder: name its target itself")
        return path


@contextmanager
def seekable(stream: Stream) -> Generator[IO[bytes]]:
    """A stream in which a reader may go back and forth, by way of a temporary file if need be.

    Raises:
        InvalidInput: it would have to be copied and is too long for that.
    """
    if stream.seekable():
        yield cast(IO[bytes], stream)
        return
    with tempfile.TemporaryFile() as copy:
        size = 0
        while piece := stream.read(_BUFFER_BYTES):
            size += len(piece)
            if size > MAX_SPOOLED_BYTES:
                raise InvalidInput(f"unpacked it is over {MAX_SPOOLED_BYTES // 2**30} GB: split it")
            copy.write(piece)
        copy.seek(0)
        yield copy


def _unchanged(before: os.stat_result, after: os.stat_result) -> None:
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InvalidInput("it changed while it was read: run again")


class _Bounded(io.RawIOBase):
    """The first bytes of a file, as many as it had when it was opened."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            return self._file.seek(max(0, self._size + offset))
        return self._file.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        left = max(0, self._size - self._file.tell())
        data = self._file.read(min(len(buffer), left))
        buffer[: len(data)] = data
        return len(data)
