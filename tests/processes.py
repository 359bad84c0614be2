"""Real processes for tests: started on free ports, waited for, and ended with all they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

COMMANDS = Path(sys.executable).parent


class DiedEarlyError(AssertionError):
    """A process ended before it was ready; the message holds what it wrote."""


@dataclass(frozen=True, slots=True)
class Running:
    """A process of ours in a group of its own, and the file it writes to."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        """What it wrote so far, stdout and stderr together."""
        self.log.flush()
        return Path(self.log.name).read_text("utf-8", "replace")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = 120) -> int:
        """Its exit status."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End it and everything it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)


@contextmanager
def running(
    arguments: Sequence[str | Path], env: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A process for the length of a block; its whole group is killed at the end."""
    with tempfile.NamedTemporaryFile(prefix="m3-process-", suffix=".log") as log:
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        started = Running(process, log)
        try:
            yield started
        finally:
            started.kill()


def wait_until(check: Callable[[], str | None], process: Running, *, seconds: float = 120) -> str:
    """Ask `check` until it answers something; the process must not end meanwhile."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = check()
        if answer is not None:
            return answer
        if process.process.poll() is not None:
            status = process.process.returncode
            raise DiedEarlyError(f"ended with {status} before it was ready:\n{process.output()}")
        time.sleep(0.05)
    raise DiedEarlyError(f"not ready within {seconds} s:\n{process.output()}")


def wait_for_server(process: Running, *, ready: bool = True, seconds: float = 120) -> str:
    """The URL that the process prints, once `/readyz` (or only `/livez`) answers 200 there."""

    def url() -> str | None:
        words = process.output().split()
        return next((word for word in words if word.startswith("http://")), None)

    address = wait_until(url, process, seconds=seconds)
    probe = f"{address}/{'readyz' if ready else 'livez'}"

    def answers() -> str | None:
        try:
            return address if httpx.get(probe, trust_env=False).status_code == 200 else None
        except httpx.TransportError:
            return None

    return wait_until(answers, process, seconds=seconds)


@contextmanager
def server(
    arguments: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    *,
    seconds: float = 120,
) -> Iterator[tuple[str, Running]]:
    """A server process that is ready, and its URL; `arguments` should hold `--port 0`."""
    with running(arguments, env) as process:
        yield wait_for_server(process, seconds=seconds), process
