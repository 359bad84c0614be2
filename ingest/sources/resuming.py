"""A stream over a connection that may break: it goes on where it broke."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Generator
from typing import TypeAlias

from m3.errors import InvalidInput

Fetch: TypeAlias = Callable[[int], Generator[bytes]]
"""The bytes from an offset on; ConnectionError where another try may help."""

MAX_REMOTE_BYTES = 256 * 2**30
"""Of one remote file, as it is stored. What has not ended by then is no file."""

_TRIES = 5
_FIRST_WAIT_SECONDS = 0.25
_PROGRESS_BYTES = 2**20
_SLOW_SECONDS = 60.0
_SLOW_BYTES = 60 * 1024
"""What must come in that time: a server that drips would hold a run for ever."""


class Resuming(io.RawIOBase):
    """Reads through `fetch`, again from where it broke; gives up after tries without progress."""

    def __init__(self, fetch: Fetch, wait: Callable[[float], None] = time.sleep) -> None:
        self._fetch = fetch
        self._wait = wait
        self._source = fetch(0)
        self._offset = 0
        self._piece = memoryview(b"")
        self._broken = 0
        self._broken_at = 0
        self._waited = 0.0
        self._waited_from = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Raises ConnectionError after the last try, InvalidInput where it cannot go on."""
        if not self._piece:
            self._piece = memoryview(self._next())
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        self._source.close()
        super().close()

    def _next(self) -> bytes:
        while True:
            began = time.monotonic()
            try:
                piece = next((piece for piece in self._source if piece), b"")
            except ConnectionError as error:
                self._again(error)
                continue
            self._offset += len(piece)
            self._refuse_dripping(time.monotonic() - began)
            if self._offset > MAX_REMOTE_BYTES:
                raise InvalidInput(f"it is over {MAX_REMOTE_BYTES // 2**30} GB: split it")
            return piece

    def _refuse_dripping(self, seconds: float) -> None:
        """Time in which nobody asked for more does not count."""
        self._waited += seconds
        if self._waited < _SLOW_SECONDS:
            return
        if self._offset - self._waited_from < _SLOW_BYTES:
            raise InvalidInput("it comes slower than 1 KB a second: run again when it is faster")
        self._waited, self._waited_from = 0.0, self._offset

    def _again(self, error: ConnectionError) -> None:
        """Opens the rest, or raises the error where that was the last try."""
        if self._offset - self._broken_at >= _PROGRESS_BYTES:
            self._broken = 0
        self._broken += 1
        self._broken_at = self._offset
        if self._broken >= _TRIES:
            raise error
        self._wait(_FIRST_WAIT_SECONDS * 2 ** (self._broken - 1))
        self._source = self._fetch(self._offset)
