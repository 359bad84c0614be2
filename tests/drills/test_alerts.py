"""Alerts fire by real faults of real processes, and none fires while all is well.

`test_alerts_beside.py` has those of a disk, a certificate and a Milvus server.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest

from m3.settings import load_settings
from store.index.engine import Engine
from store.index.index import KEY
from store.opening import open_store
from tests.damage import flip_a_bit
from tests.drills.groups import memory_limited
from tests.drills.watching import Starts, Watch, free_port, shown
from tests.processes import COMMANDS, Running, running, wait_for_server

SAMPLE = Path(__file__).parents[2] / "samples/xquad-en/corpus.jsonl"
pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus: apt install it"),
]


class House:
    """A node, a search API and ingests, watched by Prometheus."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.home = folder / "home"
        self.metrics = folder / "m3.prom"
        self._model = model
        self._ports = {"m3-embedder": free_port(), "m3-search": free_port()}
        self._env = {
            "M3_HOME": str(self.home),
            "M3_EMBEDDER_URL": self.url("m3-embedder"),
            "M3_MAX_QUEUE_SECONDS": "40",
            "M3_MILVUS_TIMEOUT": "5",
        }

    def url(self, job: str) -> str:
        return f"http://127.0.0.1:{self._ports[job]}"

    def targets(self) -> dict[str, str]:
        return {job: f"127.0.0.1:{port}" for job, port in self._ports.items()}

    def node(self) -> Any:
        model = ["--model", self._model, "--precision", "fp32"]
        return running([*self._serve("m3-embedder"), *model], self._env)

    def search(self) -> Any:
        return running(self._serve("m3-search"), self._env)

    def _serve(self, job: str) -> list[str | Path]:
        return [COMMANDS / job, "serve", "--port", str(self._ports[job])]

    def ingest(self, *arguments: str | Path, expect: int = 0) -> None:
        self._run([COMMANDS / "m3-ingest"], *arguments, expect=expect)

    def ingest_ago(self, seconds: int, *arguments: str | Path) -> None:
        """The command as it ran then: its clock says so."""
        code = (
            f"import time; real = time.time; time.time = lambda: real() - {seconds}\n"
            "from commands.ingest import main; main()"
        )
        self._run([sys.executable, "-c", code], *arguments)

    def _run(self, command: list[str | Path], *arguments: str | Path, expect: int = 0) -> None:
        done = subprocess.run(
            [*command, *map(str, arguments)],
            env={**os.environ, **self._env},
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == expect, done.stderr

    def encode(self, text: str) -> None:
        body = {"input": [text], "kind": "passage", "outputs": ["dense"]}
        url = f"{self.url('m3-embedder')}/v1/encode"
        httpx.post(url, json=body, trust_env=False, timeout=120).raise_for_status()

    def check(self) -> None:
        self.ingest("metrics", "--verify", "--to", self.metrics)

    def ask_anew(self) -> int:
        """A query that nobody remembers, and the node is needed for."""
        return self.ask(f"who won at {time.monotonic()}?")

    def ask(self, query: str = "who won the game?") -> int:
        """The answer's status."""
        body = {"query": query, "collection": "docs"}
        answer = httpx.post(
            f"{self.url('m3-search')}/v1/search", json=body, trust_env=False, timeout=120
        )
        return answer.status_code


@contextmanager
def watched(
    tmp_path: Path, stand_in: Path, prometheus: Starts
) -> Iterator[tuple[House, Watch, Running, Running]]:
    house = House(tmp_path, stand_in)
    with ExitStack() as stack:
        targets = {**house.targets(), "host": stack.enter_context(shown(house.metrics))}
        node = stack.enter_context(house.node())
        with a_load_that_hangs(node):
            watch = stack.enter_context(prometheus(tmp_path / "prometheus", targets))
            stack.callback(Engine.of(load_settings(home=house.home)).stop)
            watch.sees("ModelNotLoaded")
        wait_for_server(node, seconds=120)
        house.ingest("run", SAMPLE, "--collection", "docs")
        house.check()
        search = stack.enter_context(house.search())
        wait_for_server(search, seconds=120)
        yield house, watch, node, search


def test_faults_of_a_store(tmp_path: Path, stand_in: Path, prometheus: Starts):
    with watched(tmp_path, stand_in, prometheus) as (house, watch, _, _):
        quiet(house, watch)

        house.ingest_ago(4 * 3600, "metrics", "--to", house.metrics)
        watch.sees("ChecksMissing")

        (tmp_path / "broken.jsonl").write_text('{"_id": "a", "text": 3}\n')
        house.ingest("run", tmp_path / "broken.jsonl", "--collection", "docs", expect=1)
        house.check()
        watch.sees("DeadLetters")

        more = [{"_id": f"x{i}", "text": f"another text, number {i}"} for i in range(9)]
        (tmp_path / "more.jsonl").write_bytes(b"\n".join(map(orjson.dumps, more)))
        house.ingest("run", tmp_path / "more.jsonl", "--collection", "docs", "--defer-index")
        time.sleep(2)
        house.ingest("metrics", "--to", house.metrics)
        watch.sees("IndexBehind")
        house.ingest("verify", "docs", "--repair")

        lose_rows_of_the_index(house)
        house.check()
        watch.sees("StoreInconsistent")
        house.ingest("verify", "docs", "--repair")
        house.check()

        drop_the_sparse_index(house)
        watch.sees("SearchDegraded", meanwhile=house.ask_anew, part="sparse")

        flip_a_bit_of_the_table(house)
        house.check()
        watch.sees("RowsCorrupt")


def test_faults_of_servers(tmp_path: Path, stand_in: Path, prometheus: Starts):
    with watched(tmp_path, stand_in, prometheus) as (house, watch, node, search):
        quiet(house, watch)

        with hiccups(node):
            watch.sees("SearchSlow", seconds=180, meanwhile=house.ask_anew)

        with flood(house):
            watch.sees("QueueBacklog", seconds=180)
            watch.sees("Refusals", seconds=180)

        for _ in range(5):
            kill_worker(node)
            wait_for_server(node, seconds=120)
        watch.sees("WorkersReplaced")

        node.kill()
        # What is remembered is still found: not all are errors.
        watch.sees("NodeDown", meanwhile=house.ask)
        watch.sees("ServerErrors", meanwhile=house.ask_anew)
        search.kill()
        watch.sees("SearchDown")


def test_a_worker_outgrows_its_container(tmp_path: Path, stand_in: Path, prometheus: Starts):
    """Its memory is three quarters of what its group may have, and longer texts take more of it."""
    house = House(tmp_path, stand_in)
    with house.node() as node:
        wait_for_server(node, seconds=120)
        targets = {"m3-embedder": house.targets()["m3-embedder"]}
        with prometheus(tmp_path / "prometheus", targets) as watch:
            lengths = cycle(range(200, 6_000, 200))

            def longer() -> None:
                house.encode("word " * next(lengths))

            longer()
            watch.until_scraped()
            for _ in range(5):
                longer()
                assert not watch.fires("MemoryGrowth", {})
                time.sleep(1)
            worker = worker_of(node)
            with memory_limited(worker.pid, int(worker.memory_info().rss / 0.75)):
                watch.sees("MemoryGrowth", meanwhile=longer, device="cpu")


def quiet(house: House, watch: Watch) -> None:
    """Nothing fires while searches are answered, but what says that this machine is busy."""
    deadline = time.monotonic() + 120
    while watch.firing():
        assert time.monotonic() < deadline, watch.firing()
        assert house.ask() == 200
        time.sleep(0.5)
    for _ in range(10):
        assert house.ask() == 200
        assert watch.firing() <= {"SearchSlow"}
        time.sleep(0.5)


@contextmanager
def hiccups(node: Running) -> Iterator[None]:
    """The node's whole group stands still for 2 s of every 2.2."""
    stop = threading.Event()

    def stand_still() -> None:
        while not stop.is_set():
            os.killpg(node.pid, signal.SIGSTOP)
            time.sleep(2)
            os.killpg(node.pid, signal.SIGCONT)
            time.sleep(0.2)

    standing = threading.Thread(target=stand_still)
    standing.start()
    try:
        yield
    finally:
        stop.set()
        standing.join()


@contextmanager
def flood(house: House) -> Iterator[None]:
    """Callers that ask for more than the node can compute, and do not heed its refusals."""
    stop = threading.Event()

    def call(number: int) -> None:
        with httpx.Client(
            base_url=house.url("m3-embedder"), trust_env=False, timeout=300
        ) as client:
            while not stop.is_set():
                texts = [f"{number} {time.monotonic()} {i} " + "word " * 400 for i in range(16)]
                client.post("/v1/encode", json={"input": texts, "kind": "passage"})
                time.sleep(0.1)

    callers = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(64)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        stop.set()
        for caller in callers:
            caller.join(300)


@contextmanager
def a_load_that_hangs(node: Running) -> Iterator[None]:
    """The node's worker stands still as soon as it is there, before it has a model."""
    worker = worker_of(node)
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


def kill_worker(node: Running) -> None:
    worker = worker_of(node)
    worker.kill()
    deadline = time.monotonic() + 30
    while worker.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)


def worker_of(node: Running) -> psutil.Process:
    """Its first, once it has one."""
    deadline = time.monotonic() + 60
    while True:
        for child in psutil.Process(node.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if "worker" in " ".join(child.cmdline()):
                    return child
        assert time.monotonic() < deadline, node.output()
        time.sleep(0.02)


def lose_rows_of_the_index(house: House) -> None:
    """Two are gone, and one is there a second time, as a row that the table does not have."""
    store = open_store(load_settings(home=house.home))
    generations = store.open("docs")._generations
    generation = generations.current()
    [ids] = [[chunk.row for chunk in rows.chunks][:3] for rows in first(store.open("docs"))]
    index = generations.index(generation)
    index.delete(ids[1:])
    index._milvus.call(partial(_again, name=index.name, row=ids[0]))
    store.close()


def _again(client: Any, _: float, *, name: str, row: int) -> None:
    [found] = client.query(name, ids=[row], output_fields=["*"])
    client.upsert(name, [found | {KEY: 2**40}])


def drop_the_sparse_index(house: House) -> None:
    """In Milvus itself, by another's hand: the sparse leg fails, the dense one finds on."""
    store = open_store(load_settings(home=house.home))
    generations = store.open("docs")._generations
    index = generations.index(generations.current())

    def drop(client: Any, _: float) -> None:
        client.release_collection(index.name)
        client.drop_index(index.name, "sparse")
        client.load_collection(index.name)

    index._milvus.call(drop)
    store.close()


def flip_a_bit_of_the_table(house: House) -> None:
    store = open_store(load_settings(home=house.home))
    collection = store.open("docs")
    [rows] = first(collection)
    codes = rows.embeddings.row(0).codes.tobytes()
    table = collection._generations.table(collection._generations.current())
    store.close()
    flip_a_bit(Path(table.uri), codes)


def first(collection: Any) -> list[Any]:
    return [next(iter(collection.scan("default", "default")))]
