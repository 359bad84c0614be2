"""The keys a server knows now: read at its start, and again whenever their file changes."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from m3.errors import InvalidConfiguration, M3Error
from m3.settings import Settings
from serving.keys.file import read_keys
from serving.keys.key import Key, unauthorized

_SECONDS = 1.0
"""Between two looks at the file."""
_log = structlog.stdlib.get_logger("m3.keys")


def _now() -> datetime:
    return datetime.now(UTC)


class KeyRing:
    """The keys of one file. What is asked of it costs the same whatever key is shown."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _now,
    ) -> None:
        """Raises InvalidConfiguration for a file that cannot be used, or holds no key."""
        self._path = path
        self._clock = clock
        self._now = now
        self._state = _state(path)
        self._keys = read_keys(path)
        self._looked = clock()
        if not self._keys:
            raise InvalidConfiguration(
                f"M3_API_KEYS_FILE: {path} holds no key: add one with `m3-search keys add`"
            )

    @classmethod
    def of(cls, settings: Settings) -> KeyRing | None:
        """None where no keys are configured. Raises InvalidConfiguration."""
        return cls(settings.api_keys_file) if settings.api_keys_file else None

    def find(self, secret: bytes) -> Key:
        """The key that was sent.

        Raises:
            Unauthorized: in the same words for one that is unknown and one that has expired.
        """
        self._look()
        digest = hashlib.sha256(secret.strip()).digest()
        # All are compared, so that the time taken says nothing of which came close.
        found = [key for key in self._keys if hmac.compare_digest(digest, key.digest)]
        now = self._now()
        if not found or found[0].expired(now):
            raise unauthorized()
        return found[0]

    def _look(self) -> None:
        if self._clock() - self._looked < _SECONDS:
            return
        self._looked = self._clock()
        # Before the file is read: what changes meanwhile is read next time.
        state = _state(self._path)
        if state == self._state:
            return
        self._state = state
        try:
            self._keys = read_keys(self._path)
        except M3Error as error:
            _log.error("keys not reloaded", reason=error.message, kept=len(self._keys))
        else:
            _log.info("keys reloaded", keys=len(self._keys))


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes whenever a file does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
