"""The whole system as processes of one terminal: what `make up` and `make demo` start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import httpx

from m3.errors import Unreachable

_READY_SECONDS = 600.0
"""A first start may have to fetch a model of 2.3 GB."""
_STOP_SECONDS = 40.0
_POLL_SECONDS = 0.1


def command(name: str) -> str:
    """The installed command that stands beside this Python."""
    return str(Path(sys.executable).parent / name)


class Stack:
    """Processes that end together; each in a group of its own, so that Ctrl-C reaches only us."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self.environment = {**os.environ, **environment}
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, arguments: Sequence[str]) -> str:
        """Start a server that prints its address, and wait until `/readyz` says 200 there.

        Raises:
            Unreachable: it ended, or is not ready in time; the message names its log.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environment,
                start_new_session=True,
            )
        self._running.append((name, process))
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise Unreachable(f"{name} did not start: {_last_line(log)} (all of it: {log})")
            if (url := _address(log)) is not None and _ready(url):
                return url
            time.sleep(_POLL_SECONDS)
        raise Unreachable(f"{name} was not ready within {_READY_SECONDS:g} s; see {log}")

    def run(self, arguments: Sequence[str]) -> None:
        """Run a command to its end, on this terminal. Raises Unreachable where it fails."""
        done = subprocess.run(arguments, env=self.environment, check=False)  # noqa: S603
        if done.returncode:
            raise Unreachable(f"{' '.join(arguments[:2])} ended with {done.returncode}")

    def wait(self) -> None:
        """Until one of them ends. Raises Unreachable, for none should."""
        while True:
            for name, process in self._running:
                if process.poll() is not None:
                    raise Unreachable(f"{name} ended with {process.returncode}; see {self._logs}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End them in the opposite order."""
        for _, process in reversed(self._running):
            process.send_signal(signal.SIGINT)
        for _, process in reversed(self._running):
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
        self._running.clear()


@contextmanager
def stack(environment: Mapping[str, str], logs: Path) -> Generator[Stack]:
    """A stack for the length of a block; SIGTERM ends it as Ctrl-C does."""
    started = Stack(environment, logs)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield started
    finally:
        started.stop()
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _address(log: Path) -> str | None:
    words = log.read_text(errors="replace").split()
    return next((word for word in words if word.startswith("http://")), None)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False, timeout=5).is_success
    except httpx.HTTPError:
        return False
