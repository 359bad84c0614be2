"""The process beside the embedded Milvus: starts it, watches its users, ends it when idle.

Run by `store.index.engine` as `python -m store.index.supervisor DIRECTORY SOCKET IDLE_SECONDS`.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO

import orjson

DATABASE = "milvus.db"
_WATCH_SECONDS = 0.5
_LOCK_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LOGS = {"GLOG_logtostderr": "1", "GLOG_minloglevel": "2"}
"""Errors, to our log. Else the engine writes 20 lines a search to files in /tmp, for ever."""


class Supervisor:
    """One run of the engine, from its lock to its end."""

    def __init__(self, directory: Path, address: Path, idle_seconds: float) -> None:
        self._directory = directory
        self._socket = address
        self._idle_seconds = idle_seconds
        self._stopping = False

    def run(self) -> int:
        """0 when the engine ended as told or was started by someone else, else its exit code."""
        lock = (self._directory / "engine.lock").open("a")
        if not self._acquire(lock):
            return 0
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        self._socket.unlink(missing_ok=True)
        engine = self._start(lock)
        try:
            return self._watch(engine)
        finally:
            _end(engine)
            self._socket.unlink(missing_ok=True)

    def _acquire(self, lock: IO[str]) -> bool:
        """Waits for an engine that is on its way out; gives up where one answers."""
        deadline = time.monotonic() + _LOCK_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # One that waited on would start a second engine when the first is told to stop.
                if listening(self._socket):
                    return False
                time.sleep(_WATCH_SECONDS / 5)
            else:
                return True
        return False

    def _start(self, lock: IO[str]) -> subprocess.Popen[bytes]:
        binary = _binary()
        # The engine holds the lock too: should this process be killed, it is not started twice.
        engine = subprocess.Popen(  # noqa: S603 - the binary of an installed package
            [str(binary), str(self._directory / DATABASE), f"unix:{self._socket}", "ERROR"],
            env={**_LOGS, **os.environ, "LD_LIBRARY_PATH": str(binary.parent)},
            pass_fds=(lock.fileno(),),
        )
        state = {"supervisor": os.getpid(), "engine": engine.pid}
        draft = self._directory / "engine.json.draft"
        draft.write_bytes(orjson.dumps(state))
        draft.replace(self._directory / "engine.json")
        return engine

    def _watch(self, engine: subprocess.Popen[bytes]) -> int:
        last_used = time.monotonic()
        with (self._directory / "clients.lock").open("a") as clients:
            while not self._stopping:
                if (code := engine.poll()) is not None:
                    return code
                try:
                    fcntl.flock(clients, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    last_used = time.monotonic()
                else:
                    if time.monotonic() - last_used > self._idle_seconds:
                        # Kept locked while it ends, so that nobody attaches to what is ending.
                        _end(engine)
                        self._socket.unlink(missing_ok=True)
                        return 0
                    fcntl.flock(clients, fcntl.LOCK_UN)
                time.sleep(_WATCH_SECONDS)
        return 0

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True


def listening(path: Path) -> bool:
    """Whether somebody answers at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _binary() -> Path:
    """The server that the milvus-lite package carries, found without importing the package."""
    spec = importlib.util.find_spec("milvus_lite")
    if spec is None or spec.origin is None:
        sys.exit("milvus-lite is not installed: pip install 'm3-retrieval[store]'")
    return Path(spec.origin).parent / "lib" / "milvus"


def _end(engine: subprocess.Popen[bytes]) -> None:
    engine.terminate()
    try:
        engine.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        engine.kill()
        engine.wait()


if __name__ == "__main__":
    directory, address, idle_seconds = sys.argv[1:]
    sys.exit(Supervisor(Path(directory), Path(address), float(idle_seconds)).run())
