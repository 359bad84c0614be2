"""The installed commands against real faults: killed, deleted, written to while read."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import time
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest

from store.places.folder import FolderPlace
from store.registry import Registry
from tests.gate import gate
from tests.processes import COMMANDS, server

SAMPLE = Path(__file__).parents[2] / "samples/xquad-en/corpus.jsonl"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """400 documents, several requests: the sample's sentences."""
    sentences = [
        sentence
        for line in SAMPLE.read_text("utf-8").splitlines()
        for sentence in orjson.loads(line)["text"].split(". ")
        if len(sentence) > 20
    ][:400]
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(
        b"\n".join(orjson.dumps({"id": f"s{i}", "text": text}) for i, text in enumerate(sentences))
    )
    return path


@pytest.fixture
def few(corpus: Path) -> Path:
    """200 of them, for what their number does not matter to."""
    path = corpus.with_name("few.jsonl")
    path.write_bytes(b"".join(corpus.read_bytes().splitlines(keepends=True)[:200]))
    return path


def status(machine, name="docs"):
    return orjson.loads(machine.run("m3-ingest", "status", name, "--json").stdout)


def test_milvus_killed_during_ingest(machine, corpus):
    """The command says what happened and exits 3; a rerun completes; nothing is doubled."""
    registry = Registry(FolderPlace(machine.home / "tables"))
    with gate(machine.node, passing=2) as held:
        beyond = replace(machine, node=held.url)
        ingest = beyond.start("m3-ingest", "run", corpus, "--collection", "docs")
        deadline = time.monotonic() + 120
        while not (registry.names() and registry.read("docs").generation.published > 1):
            assert ingest.poll() is None, ingest.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        # The rest of it waits for vectors.
        os.kill(machine.engine.status().pid, signal.SIGKILL)
        held.open()
        _, errors = ingest.communicate(timeout=120)
    assert held.waiting.is_set()
    assert ingest.returncode == 3, errors
    assert "Milvus stopped" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    machine.run("m3-ingest", "run", corpus, "--collection", "docs")
    assert status(machine)["documents"] == 400
    machine.run("m3-ingest", "verify", "docs")


def test_milvus_files_deleted(machine, few):
    """The index is rebuilt from the table; the node is out of reach meanwhile."""
    machine.run("m3-ingest", "run", few, "--collection", "docs")
    query = ("m3-search", "query", "Who won the game?", "--collection", "docs", "--json")
    before = orjson.loads(machine.run(*query).stdout)["hits"]
    machine.run("m3-search", "engine", "stop")
    shutil.rmtree(machine.home / "milvus")
    lost = machine.process(*query, expect=4)
    assert "verify" in lost.stderr
    machine.run("m3-ingest", "verify", "docs", expect=4)
    machine.settings["M3_EMBEDDER_URL"] = "http://127.0.0.1:1"
    machine.run("m3-ingest", "verify", "docs", "--repair")
    del machine.settings["M3_EMBEDDER_URL"]
    assert orjson.loads(machine.run(*query).stdout)["hits"] == before
    machine.run("m3-ingest", "verify", "docs")


def test_ingest_while_another_process_searches(machine, few, data):
    """Both go on without an error."""
    machine.run("m3-ingest", "run", few, "--collection", "docs")
    serve = [COMMANDS / "m3-search", "serve", "--port", "0"]
    with (
        server(serve, machine.environment) as (url, _),
        gate(machine.node, passing=0) as held,
        httpx.Client(base_url=url, trust_env=False, timeout=120) as client,
    ):
        ingest = replace(machine, node=held.url).start(
            "m3-ingest", "run", data / "milvus-docs-md/userGuide/tools", "--collection", "docs"
        )
        assert held.waiting.wait(120)
        seconds: list[float] = []
        while ingest.poll() is None:
            if len(seconds) == 6:
                held.open()
            started = time.perf_counter()
            answer = client.post(
                "/v1/search",
                json={"query": f"index number {len(seconds)}", "collection": "docs"},
            )
            seconds.append(time.perf_counter() - started)
            assert answer.status_code == 200, answer.text
            assert answer.json()["degraded"] == []
            assert len(answer.json()["hits"]) == 10
            # A slow machine's other half of the time is for the other process.
            time.sleep(seconds[-1])
        _, errors = ingest.communicate()
        assert ingest.returncode == 0, errors
    assert len(seconds) > 5
    p95 = statistics.quantiles(seconds, n=20)[-1]
    print(f"{len(seconds)} searches during ingest, p95 {p95 * 1e3:.0f} ms")
