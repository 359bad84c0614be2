"""Files read in a process of its own, which may take too long, too much memory, or crash.

Parsers of PDF and of office formats are large, and their inputs come from anywhere: no limit
inside such a parser is as sure as an end of its process.
"""

from __future__ import annotations

import atexit
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, BinaryIO, cast

import orjson

from ingest.sources import apart_process
from ingest.sources.apart_process import LENGTH, write
from ingest.sources.base import Stream
from m3.errors import InvalidInput

MAX_FILE_BYTES = 256 * 2**20
"""Of a file that is read apart; the process holds it in memory."""

_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may take; `bytes` None leaves the memory alone."""

    seconds: float = 300.0
    bytes: int | None = 3 * 2**30


class Apart:
    """A parser in a process that is started with its first file and again after a bad one.

    Args:
        parser: `module:function` of an `apart_process.Read`.
    """

    def __init__(self, parser: str, limits: Limits | None = None) -> None:
        self._parser = parser
        self._limits = limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        atexit.register(self.close)

    def read(self, stream: Stream, name: str) -> tuple[dict[str, Any], int]:
        """What the parser makes of a file, and how many bytes it has.

        Raises:
            InvalidInput: nothing, and why; or it took more than the limits.
        """
        with self._lock:
            process = self._running()
            try:
                size = _send(process, stream, name)
                answer = orjson.loads(self._answer(process))
            except BaseException:
                self.close()
                raise
        if "error" in answer:
            raise InvalidInput(answer["error"])
        return answer, size

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with suppress(OSError):
            process.communicate()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            module, limit = apart_process.__name__, str(self._limits.bytes or 0)
            command = [sys.executable, "-m", module, self._parser, limit]
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Ctrl-C is for the run to end in order; this process ends with its input.
                start_new_session=True,
            )
        return self._process

    def _answer(self, process: subprocess.Popen[bytes]) -> bytes:
        deadline = time.monotonic() + self._limits.seconds
        (length,) = LENGTH.unpack(self._received(process, LENGTH.size, deadline))
        return self._received(process, length, deadline)

    def _received(self, process: subprocess.Popen[bytes], length: int, deadline: float) -> bytes:
        output = cast(BinaryIO, process.stdout).fileno()
        data = bytearray()
        while len(data) < length:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([output], [], [], left)[0]:
                raise InvalidInput(f"its parser takes over {self._limits.seconds:g} s")
            piece = os.read(output, min(_PIECE, length - len(data)))
            if not piece:
                raise InvalidInput("its parser crashed or ran out of memory")
            data += piece
        return bytes(data)


def _send(process: subprocess.Popen[bytes], stream: Stream, name: str) -> int:
    """A file in pieces, an empty one last. Returns its size."""
    pipe = cast(BinaryIO, process.stdin)
    size = 0
    try:
        write(pipe, name.encode("utf-8", "replace"))
        while piece := stream.read(_PIECE):
            size += len(piece)
            if size > MAX_FILE_BYTES:
                raise InvalidInput(f"the file is over {MAX_FILE_BYTES // 2**20} MB: split it")
            write(pipe, piece)
        write(pipe, b"")
        pipe.flush()
    except BrokenPipeError as error:
        raise InvalidInput("its parser crashed or ran out of memory") from error
    return size
