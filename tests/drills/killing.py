"""The drill's machine: a collection that is written, killed, written again and checked."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

import orjson

from m3.settings import load_settings
from m3.types import DEFAULT_TENANT
from store.index.engine import Engine
from store.opening import open_store
from tests.drills import versions
from tests.drills.launcher import POINTS
from tests.processes import COMMANDS, Running, running, wait_for_server

Target = Literal["cli", "milvus", "node"]
ROOT = Path(__file__).parents[2]
NAME = "docs"
_RUN_SECONDS = 240
_FAILS = 3


@dataclass(frozen=True, slots=True)
class Kill:
    """What dies, and when: a point of the writer's log and a delay after it, or only a delay."""

    target: Target
    point: str | None
    delay: float
    count: int = 1

    @classmethod
    def drawn(cls, rng: random.Random, target: Target, *, at_point: bool) -> Self:
        if not at_point:
            return cls(target, None, rng.uniform(0.3, 6.0))
        delay = rng.choice([0.0, 0.0, rng.uniform(0.001, 0.05)])
        # A sweep comes once a run, the other points as often as there are commits.
        point = rng.choice(POINTS)
        count = 1 if point in {"sweeping", "swept"} else rng.choice([1, 1, 2])
        return cls(target, point, delay, count)


@dataclass
class Drill:
    """A state directory, a node of its own and a reader, all killed at the end."""

    home: Path
    model: Path
    documents: int = 100
    reversed: bool = False
    small: bool = False
    kills: Counter[str] = field(default_factory=Counter)
    expected: dict[int, int] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        self._port = _free_port()
        self._environment = {
            "M3_HOME": str(self.home / "state"),
            "M3_EMBEDDER_URL": f"http://127.0.0.1:{self._port}",
            "M3_EMBEDDER_PATIENCE": "1",
            **({"DRILL_REVERSED": "1"} if self.reversed else {}),
            **({"DRILL_SMALL": "1"} if self.small else {}),
        }
        self._start_node()
        self._sightings = self.home / "sightings.json"
        self._reader = self._stack.enter_context(
            running([sys.executable, "-m", "tests.drills.reader", NAME, self._sightings],
                    self._environment)
        )  # fmt: skip
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._engine().stop()

    def write(self, changed: dict[int, int], kill: Kill | None = None) -> bool:
        """Ingest the corpus with these documents changed; whether the kill happened."""
        self.expected |= changed
        versions.write(self.home / "corpus.jsonl", self.expected)
        return self._run(kill)

    def compact(self, kill: Kill) -> bool:
        """`m3-ingest compact`, cleaning what no reader reads any more; whether it was killed."""
        return self._run(kill, ["compact", NAME, "--retention", "5s"])

    def again(self) -> None:
        """A rerun: whatever was killed is there again, and it has to succeed."""
        if self._node.process.poll() is not None:
            self._start_node()
        wait_for_server(self._node)
        self._run(None)

    def check(self) -> None:
        """Nothing is missing, double, stale or different, and the reader saw nothing wrong."""
        store = open_store(self._settings())
        try:
            collection = store.open(NAME)
            found = collection.verify()
            assert found.consistent, f"index and table differ: {found}"
            assert found.chunks == versions.PARTS * len(self.expected)
            keys = collection.keys(DEFAULT_TENANT, "default")
            assert sorted(key.id for key in keys) == sorted(f"d{n}" for n in self.expected)
            documents = {document.id: document for document in collection.originals(keys)}
            for number, version in self.expected.items():
                wanted, got = versions.document(number, version), documents[f"d{number}"]
                assert (got.title, got.text, got.metadata) == (
                    wanted.title, wanted.text, wanted.metadata,
                )  # fmt: skip
        finally:
            store.close()
        self.check_reader()

    def check_reader(self) -> None:
        assert self._reader.process.poll() is None, self._reader.output()
        assert not self.sightings()["wrong"], self.sightings()["wrong"][:5]

    def sightings(self) -> dict:
        return orjson.loads(self._sightings.read_bytes())

    def hits(self, query: str, home: str = "state") -> dict[str, dict]:
        """Every chunk with its scores, by id."""
        most = str(versions.PARTS * len(self.expected))
        answer = subprocess.run(
            [
                COMMANDS / "m3-search",
                "query",
                query,
                "--collection",
                NAME,
                "--top-k",
                most,
                "--json",
            ],
            env={**os.environ, **self._environment, "M3_HOME": str(self.home / home)},
            capture_output=True,
            check=True,
        )
        return {hit["id"]: hit for hit in orjson.loads(answer.stdout)["hits"]}

    def undisturbed(self) -> None:
        """The same corpus in one run, in a state directory of its own."""
        self._stack.callback(Engine(self.home / "undisturbed", 1.0).stop)
        status, output = self._ingest({"M3_HOME": str(self.home / "undisturbed")})
        assert status == 0, output

    def compare(self, queries: list[str]) -> None:
        """Equal ids, texts and metadata, and scores within 1e-4."""
        self.undisturbed()
        for query in queries:
            killed, whole = self.hits(query), self.hits(query, "undisturbed")
            assert killed.keys() == whole.keys()
            assert len(killed) == versions.PARTS * len(self.expected)
            for name, hit in killed.items():
                other = whole[name]
                assert (hit["text"], hit["metadata"]) == (other["text"], other["metadata"])
                for leg, score in hit["scores"].items():
                    assert abs(score - other["scores"][leg]) <= 1e-4, (name, leg)

    def _run(self, kill: Kill | None, arguments: Sequence[str | Path] = ()) -> bool:
        told = self.home / "killed"
        told.unlink(missing_ok=True)
        environment = {"DRILL_KILLED": str(told)}
        if kill and kill.point:
            target = str(self._node.pid) if kill.target == "node" else kill.target
            environment["DRILL_KILL"] = f"{kill.point} {kill.count} {kill.delay} {target}"
        if kill and not kill.point:
            happened, status, output = self._killed_in_time(kill)
        else:
            status, output = self._ingest(environment, arguments)
            happened = told.exists()
        allowed = {0} if kill is None else {0, _FAILS, -9} if kill.target == "cli" else {0, _FAILS}
        assert status in allowed, f"{kill}: {status}: {output}"
        assert "Traceback" not in output, output
        if kill and happened:
            self.kills[f"{kill.target} {'at a point' if kill.point else 'at any time'}"] += 1
        return happened

    def _ingest(
        self, environment: dict[str, str], arguments: Sequence[str | Path] = ()
    ) -> tuple[int, str]:
        with running(self._command(arguments), {**self._environment, **environment}) as process:
            return process.wait(_RUN_SECONDS), process.output()

    def _killed_in_time(self, kill: Kill) -> tuple[bool, int, str]:
        with running(self._command(), self._environment) as process:
            time.sleep(kill.delay)
            happened = process.process.poll() is None
            match kill.target:
                case "cli":
                    process.signal(9)
                case "node":
                    self._node.kill()
                case "milvus":
                    pid = self._engine().status().pid
                    happened = happened and pid is not None
                    if pid is not None:
                        os.kill(pid, 9)
            return happened, process.wait(_RUN_SECONDS), process.output()

    def _command(self, arguments: Sequence[str | Path] = ()) -> list[str | Path]:
        """These arguments, or a run over the corpus."""
        launcher = [sys.executable, "-m", "tests.drills.launcher"]
        cut = ["--collection", NAME, "--max-tokens", str(versions.MAX_TOKENS), "--overlap", "0"]
        return [*launcher, *(arguments or ["run", self.home / "corpus.jsonl", *cut])]

    def _start_node(self) -> None:
        command = [COMMANDS / "m3-embedder", "serve", "--port", str(self._port)]
        command += ["--model", self.model, "--precision", "fp32"]
        self._node: Running = self._stack.enter_context(running(command, self._environment))
        wait_for_server(self._node)

    def _engine(self) -> Engine:
        return Engine.of(self._settings())

    def _settings(self):
        return load_settings(home=self.home / "state")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
