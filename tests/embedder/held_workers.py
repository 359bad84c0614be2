"""Workers of real nodes that do nothing until a test says so: one stands still, or none begins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from tests.pace import LIMIT
from tests.processes import Running

# Python imports it before anything else, and the worker's module after it.
_CUSTOMIZED = """
import sys, time
from pathlib import Path
closed = Path(__file__).with_name("closed")
while "embedder.batching.worker" in sys.orig_argv and closed.exists():
    time.sleep(0.01)
"""


class Gate:
    """While it is closed, no worker loads of a node that has `env` in its environment."""

    def __init__(self, folder: Path) -> None:
        self._closed = folder / "closed"
        self.env: Mapping[str, str] = {"PYTHONPATH": str(folder)}
        (folder / "sitecustomize.py").write_text(_CUSTOMIZED)

    def close(self) -> None:
        self._closed.touch()

    def open(self) -> None:
        self._closed.unlink()


def worker_of(node: Running) -> psutil.Process:
    """The only one that it has."""
    (worker,) = psutil.Process(node.pid).children()
    return worker


@contextmanager
def standing(worker: psutil.Process) -> Iterator[psutil.Process]:
    """It computes nothing for the length of a block, at whose end it may be gone."""
    worker.suspend()
    try:
        yield worker
    finally:
        with suppress(psutil.NoSuchProcess):
            worker.resume()


def has_ended(worker: psutil.Process) -> bool:
    """Whether it is gone, or only its new parent has not asked for its status yet."""
    try:
        return worker.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def until_queued(client: httpx.AsyncClient, enough: Callable[[int], bool]) -> None:
    """Wait until so many tokens wait at the node."""
    deadline = time.monotonic() + LIMIT
    while not enough(int((await client.get("/livez")).headers["x-queue-tokens"])):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
