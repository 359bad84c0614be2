"""The embedded Milvus as a process of its own, shared by all that use one state directory.

Whoever comes first starts a supervisor, which runs milvus-lite's server on a unix socket and
ends it when nobody has used it for a while. Two files under the state directory say who is
there, both by `flock`, which the kernel lets go when a process dies however it dies:

engine.lock   held exclusively while an engine runs, by the supervisor and the engine itself
clients.lock  held shared by every process that uses the engine
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from m3.errors import (
    InvalidConfiguration,
    MilvusRefused,
    MilvusUnreachable,
    StorageFull,
)
from m3.settings import Settings
from store.index.supervisor import DATABASE, listening

_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05
_BUSY_SECONDS = 60.0
_MAX_SOCKET_PATH = 100


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Whether the embedded Milvus runs, and where."""

    running: bool
    address: str
    pid: int | None
    directory: str
    log: str


class Engine:
    """The engine of one state directory, from the outside."""

    def __init__(self, home: Path, idle_seconds: float) -> None:
        self.directory = home / "milvus"
        self.idle_seconds = idle_seconds
        self.socket = _socket_path(self.directory)
        self.log = self.directory / "engine.log"
        self._state = self.directory / "engine.json"
        self._lease: IO[str] | None = None

    @classmethod
    def of(cls, settings: Settings) -> Engine:
        return cls(settings.home, settings.engine_idle)

    @property
    def address(self) -> str:
        return f"unix:{self.socket}"

    def attach(self) -> str:
        """Its address, started if need be; it stays while this process lives.

        Raises:
            MilvusUnreachable: it did not come up; the message names its log.
        """
        _private(self.directory)
        _private(self.socket.parent)
        if self._lease is None:
            self._lease = (self.directory / "clients.lock").open("a")
            fcntl.flock(self._lease, fcntl.LOCK_SH)
        if not listening(self.socket):
            self._start()
        return self.address

    def detach(self) -> None:
        """Let go of it: it ends by itself when nobody is left."""
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    def identity(self) -> str:
        """An id made once for the directory: one that was lost comes back as another engine.

        Raises:
            StorageFull: it cannot be written.
        """
        _private(self.directory)
        try:
            with (self.directory / "engine.id").open("a+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                made = file.read()
                if not made:
                    made = uuid.uuid4().hex
                    file.write(made)
        except OSError as error:
            raise StorageFull(f"cannot write {self.directory}: {error.strerror}") from error
        return made

    def _start(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        supervisor = self._supervisor()
        while not listening(self.socket):
            code = supervisor.poll()
            if code not in (None, 0) or time.monotonic() > deadline:
                raise MilvusUnreachable(
                    f"the embedded Milvus did not start; {self.log} says why: {self._last_words()}"
                )
            if code == 0:
                # It left the field to another one, which has ended since.
                supervisor = self._supervisor()
            time.sleep(_POLL_SECONDS)

    def _supervisor(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "store.index.supervisor", str(self.directory)]
        command += [str(self.socket), str(self.idle_seconds)]
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own module
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "nothing was logged"

    def stop(self) -> bool:
        """End it, whoever uses it; whether it ran."""
        if not self._locked():
            return False
        state = orjson.loads(self._state.read_bytes())
        deadline = time.monotonic() + _STOP_SECONDS
        for pid in (state["supervisor"], state["engine"]):
            _signal(pid, signal.SIGTERM)
        while self._locked():
            if time.monotonic() > deadline:
                _signal(state["engine"], signal.SIGKILL)
                deadline = float("inf")
            time.sleep(_POLL_SECONDS)
        return True

    def erase(self) -> None:
        """Rewrite its database file without the pages that deleted rows were on.

        Raises:
            MilvusRefused: the engine is busy with it all the time.
            StorageFull: there is no room for a second file of its size.
        """
        try:
            with closing(sqlite3.connect(self.directory / DATABASE, timeout=_BUSY_SECONDS)) as file:
                file.execute("VACUUM")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise StorageFull("erasing needs room for a second index: free some") from error
            raise MilvusRefused(
                f"the index cannot be erased from while it is written to ({error}): try again"
            ) from error

    def status(self) -> EngineStatus:
        running = self._locked()
        pid = orjson.loads(self._state.read_bytes())["engine"] if running else None
        return EngineStatus(
            running=running,
            address=self.address,
            pid=pid,
            directory=str(self.directory),
            log=str(self.log),
        )

    def _locked(self) -> bool:
        """Whether someone holds engine.lock."""
        path = self.directory / "engine.lock"
        if not path.exists() or not self._state.exists():
            return False
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _socket_path(directory: Path) -> Path:
    """Beside the data, or, where that path is too long for a socket, in a private folder."""
    path = directory.absolute() / "milvus.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    name = hashlib.blake2b(os.fsencode(path), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"m3-{os.getuid()}-{name}" / "milvus.sock"


def _private(folder: Path) -> None:
    """Made for its owner alone: the engine asks nobody for a password."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise InvalidConfiguration(f"{folder} belongs to another user; set M3_HOME elsewhere")
        folder.chmod(0o700)
    except OSError as error:
        raise InvalidConfiguration(f"cannot use {folder}: {error.strerror}") from error


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
