"""One contender as a process of its own: its threads, cores and CPU seconds are its alone.

`python -m bench.worker NAME FOLDER THREADS` answers lines of JSON with lines of JSON.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from bench.measure import Seconds


class Absent(Exception):
    """The contender cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class Run(Seconds):
    """One run.

    Attributes:
        tokens: computed, padding and repeated work included.
        seconds: by phase, where the contender tells them apart.
    """

    tokens: int
    seconds: dict[str, float]


class Worker:
    """A running contender, pinned to as many cores as it has threads."""

    def __init__(self, name: str, folder: Path, *, threads: int) -> None:
        """Start and load. Raises Absent."""
        self.name = name
        # Progress bars and warnings; shown where it fails.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", name, str(folder), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            cwd=Path(__file__).parents[1],
            env={**os.environ, **thread_limits(threads)},
        )
        try:
            self.engine: str = self._answer()["engine"]
        except Absent:
            self.close()
            raise

    def encode(
        self, texts: Sequence[str], *, batch_size: int | None = None, alone: bool = False
    ) -> Run:
        """Encode once, in one call or each text in its own."""
        assert self._process.stdin is not None
        request = {"texts": list(texts), "batch_size": batch_size, "alone": alone}
        self._process.stdin.write(orjson.dumps(request) + b"\n")
        self._process.stdin.flush()
        return Run(**self._answer())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _answer(self) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = orjson.loads(line) if line else {"absent": self._last_words()}
        if "absent" in answer:
            raise Absent(f"{self.name}: {answer['absent']}")
        return answer

    def _last_words(self) -> str:
        self._said.seek(0)
        return f"its process ended: {self._said.read()[-2000:].decode(errors='replace')}"


def seconds_of(worker: Worker, texts: Sequence[str]) -> Callable[[], Run]:
    """A contender for `interleaved`: the texts in one call."""
    return lambda: worker.encode(texts)


@contextmanager
def workers(
    names: Sequence[str], folder: Path, *, threads: int
) -> Generator[tuple[dict[str, Worker], list[str]]]:
    """Those that can be had, and why the others cannot; all end with the block."""
    started: dict[str, Worker] = {}
    absent: list[str] = []
    try:
        for name in names:
            try:
                started[name] = Worker(name, folder, threads=threads)
            except Absent as why:
                absent.append(str(why))
        yield started, absent
    finally:
        for worker in started.values():
            worker.close()


def thread_limits(threads: int) -> dict[str, str]:
    """The environment of a process that computes with so many threads.

    They wait for each other as a node's do: passively.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**dict.fromkeys(names, str(threads)), "OMP_WAIT_POLICY": "passive"}


def pin(cores: Sequence[int]) -> None:
    """Keep this process, and what it starts, on these cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def main() -> None:
    name, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    pin(range(threads))
    # Libraries print; lines of ours alone may reach whoever asks.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        _serve(name, folder, threads, answers)


def _serve(name: str, folder: Path, threads: int, answers: IO[bytes]) -> None:
    from bench.contenders import MissingPeer, load
    from bench.runtimes import MissingRuntime
    from m3.errors import M3Error

    def answer(value: object) -> None:
        answers.write(orjson.dumps(value) + b"\n")
        answers.flush()

    try:
        contender = load(name, folder, threads)
    except (MissingPeer, MissingRuntime, M3Error) as error:
        return answer({"absent": str(error)})
    answer({"engine": contender.engine})
    for line in sys.stdin.buffer:
        request = orjson.loads(line)
        texts = request["texts"]
        calls = [[text] for text in texts] if request["alone"] else [texts]
        wall, cpu = time.perf_counter(), time.process_time()
        ran = [contender(call, request["batch_size"]) for call in calls]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        seconds = {phase: sum(one.seconds[phase] for one in ran) for phase in ran[0].seconds}
        tokens = sum(one.tokens for one in ran)
        answer({"wall": wall, "cpu": cpu, "tokens": tokens, "seconds": seconds})
    return None


if __name__ == "__main__":
    main()
