from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from m3.settings import load_settings
from store.index.engine import Engine
from tests.inside import inside
from tests.processes import COMMANDS


@dataclass(frozen=True)
class Machine:
    """A state directory and a node, and the commands run against them."""

    home: Path
    node: str
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "M3_HOME": str(self.home),
            "M3_EMBEDDER_URL": self.node,
            # An engine on a busy machine is slow, and not to be given up.
            "M3_MILVUS_TIMEOUT": "120",
            **self.settings,
        }

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        command, *rest = map(str, arguments)
        return subprocess.Popen(
            [COMMANDS / command, *rest],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def run(self, *arguments: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command in this process; its exit code has to be the expected one."""
        command, *rest = map(str, arguments)
        return _ended(inside(command, *rest, environment=self.environment), expect)

    def process(self, *arguments: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """As `run`, in a process of its own: where faults are about, and may stay behind."""
        process = self.start(*arguments)
        said = process.communicate(timeout=240)
        return _ended(subprocess.CompletedProcess(arguments, process.returncode, *said), expect)

    @property
    def engine(self) -> Engine:
        return Engine.of(load_settings(home=self.home))


def _ended(done: subprocess.CompletedProcess[str], expect: int) -> subprocess.CompletedProcess[str]:
    assert done.returncode == expect, f"{done.returncode}: {done.stdout}\n{done.stderr}"
    return done


@pytest.fixture
def machine(tmp_path: Path, node: str) -> Iterator[Machine]:
    machine = Machine(tmp_path / "home", node)
    yield machine
    machine.engine.stop()
