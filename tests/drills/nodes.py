"""Nodes of a fleet as processes that drills kill, stop, end and start again on their port."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import httpx

from bench.worker import thread_limits
from tests.edges import free_ports
from tests.processes import COMMANDS, Running, running

READY_SECONDS = 60.0


@dataclass(slots=True)
class NodeProcess:
    """One node, running or not."""

    port: int
    command: Sequence[str | Path]
    env: Mapping[str, str]
    _running: tuple[AbstractContextManager[Running], Running] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def process(self) -> Running:
        assert self._running is not None
        return self._running[1]

    def start(self) -> None:
        process = running([*self.command, "serve", "--port", str(self.port)], self.env)
        self._running = process, process.__enter__()

    def kill(self) -> None:
        """`kill -9` of the node and of its worker, at once."""
        if self._running is not None:
            self._running[0].__exit__(None, None, None)
            self._running = None

    async def end(self) -> int:
        """SIGTERM, and its exit status once it has drained."""
        self.process.signal(signal.SIGTERM)
        status = await asyncio.to_thread(self.process.wait, 60)
        self.kill()
        return status

    def freeze(self) -> None:
        """SIGSTOP: the kernel goes on to accept connections, and nobody reads them."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    async def ready(self) -> None:
        """Return when `/readyz` says 200."""
        async with asyncio.timeout(READY_SECONDS):
            while not await self.is_ready():
                assert self.process.process.poll() is None, self.process.output()
                await asyncio.sleep(0.2)

    async def is_ready(self) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=1) as client:
                return (await client.get(f"{self.url}/readyz")).is_success
        except httpx.TransportError:
            return False


@dataclass(slots=True)
class Nodes:
    """A fleet's nodes, in no order."""

    all: list[NodeProcess] = field(default_factory=list[NodeProcess])

    @property
    def addresses(self) -> list[str]:
        return [node.address for node in self.all]

    async def start(self) -> None:
        for node in self.all:
            node.start()
        await asyncio.gather(*(node.ready() for node in self.all))


Started: TypeAlias = AbstractContextManager[Nodes]
"""Nodes that are ended with their block."""


@contextmanager
def stand_ins(count: int, model: Path, home: Path, **settings: str) -> Iterator[Nodes]:
    """Nodes of the installed command that serve the stand-in, of one thread each."""
    command = [COMMANDS / "m3-embedder"]
    env = {"M3_MODEL": str(model), **thread_limits(1), **settings}
    with _ended(_nodes(count, command, home, env)) as nodes:
        yield nodes


@contextmanager
def sleepers(count: int, home: Path, tokens_per_second: float, **settings: str) -> Iterator[Nodes]:
    """Nodes whose worker sleeps in place of computing."""
    command = [sys.executable, "-m", "tests.drills.sleeping_node"]
    env = {"M3_MODEL": "sleeping", "DRILL_TOKENS_PER_SECOND": str(tokens_per_second), **settings}
    with _ended(_nodes(count, command, home, env)) as nodes:
        yield nodes


def _nodes(
    count: int, command: Sequence[str | Path], home: Path, env: Mapping[str, str]
) -> list[NodeProcess]:
    shared = {"M3_HOME": str(home), "M3_LOG_LEVEL": "warning", **env}
    return [NodeProcess(port, command, shared) for port in free_ports(count)]


@contextmanager
def _ended(nodes: list[NodeProcess]) -> Iterator[Nodes]:
    try:
        yield Nodes(nodes)
    finally:
        for node in nodes:
            node.kill()
