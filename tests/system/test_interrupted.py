"""Interrupts, things that hang and clocks that jump: nothing is lost, a rerun completes."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import orjson
import pytest

from tests.processes import COMMANDS, server

SAMPLE = Path(__file__).parents[2] / "samples/xquad-en/corpus.jsonl"
DOCUMENTS = 200


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(SAMPLE.read_text("utf-8").splitlines()[:DOCUMENTS]), "utf-8")
    return path


def completes(machine, corpus: Path) -> None:
    machine.process("m3-ingest", "run", corpus, "--collection", "docs")
    machine.process("m3-ingest", "verify", "docs")
    status = orjson.loads(machine.process("m3-ingest", "status", "docs", "--json").stdout)
    assert status["documents"] == DOCUMENTS


@pytest.mark.drill
@pytest.mark.parametrize("signals", [["INT"], ["INT", "INT"], ["TERM"]])
@pytest.mark.parametrize("seed", range(3))
def test_interrupted(machine, corpus, signals, seed):
    """Once, twice or by SIGTERM, at any moment: it ends soon, without a traceback."""
    run = machine.start("m3-ingest", "run", corpus, "--collection", "docs")
    rng = random.Random(f"{signals}-{seed}")
    time.sleep(rng.uniform(1.0, 6.0))
    for name in signals:
        run.send_signal(getattr(signal, f"SIG{name}"))
        time.sleep(rng.uniform(0.0, 0.3))
    _, errors = run.communicate(timeout=60)
    assert run.returncode in {0, 130, 143, -signal.SIGTERM, -signal.SIGINT}, errors
    assert "Traceback" not in errors
    completes(machine, corpus)


@pytest.mark.drill
def test_milvus_hangs(machine, corpus):
    """Stopped without ending: the call times out, exit 3; a rerun completes when it goes on."""
    machine.process("m3-search", "engine", "start")
    machine.settings["M3_MILVUS_TIMEOUT"] = "3"
    pid = machine.engine.status().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        hung = machine.process("m3-ingest", "run", corpus, "--collection", "docs", expect=3)
        assert time.monotonic() - started < 60
        assert hung.stderr.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in hung.stderr
    finally:
        os.kill(pid, signal.SIGCONT)
    completes(machine, corpus)


@pytest.mark.drill
def test_node_hangs(machine, corpus, stand_in):
    """A node that takes requests and never answers: exit 3 after the time-out."""
    command = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    with server([*command, "--precision", "fp32"]) as (url, process):
        good = machine.settings.get("M3_EMBEDDER_URL", machine.node)
        machine.settings["M3_EMBEDDER_URL"] = url
        machine.process("m3-ingest", "run", corpus, "--collection", "other")
        machine.settings["M3_EMBEDDER_TIMEOUT"] = "3"
        process.signal(signal.SIGSTOP)
        hung = machine.process("m3-ingest", "run", corpus, "--collection", "docs", expect=3)
        assert "did not answer within 3 s" in hung.stderr.splitlines()[-1]
        machine.settings.update({"M3_EMBEDDER_URL": good, "M3_EMBEDDER_TIMEOUT": "120"})
        completes(machine, corpus)


@pytest.mark.drill
@pytest.mark.parametrize("jump", [-86_400 * 365, 86_400 * 365])
def test_clock_jumps(machine, corpus, jump, tmp_path):
    """The clock is set a year back or forward during a run; it and the next one end as ever."""
    code = (
        "import time, types; real, began = time.time, time.monotonic()\n"
        # gRPC's core holds deadlines against the system's clock, which does not jump here.
        "import grpc._channel; grpc._channel.time = types.SimpleNamespace(**vars(time))\n"
        f"time.time = lambda: real() + ({jump} if time.monotonic() - began > 3 else 0)\n"
        "from commands.ingest import main; main()"
    )
    arguments = ["-c", code, "run", str(corpus), "--collection", "docs"]
    run = machine.start(sys.executable, *arguments)
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 0, errors
    completes(machine, corpus)
    changed = [orjson.loads(line) for line in corpus.read_bytes().splitlines()]
    corpus.write_bytes(
        b"\n".join(orjson.dumps(d | {"text": d["text"] + " Again."}) for d in changed)
    )
    run = machine.start(sys.executable, *arguments)
    _, errors = run.communicate(timeout=120)
    assert run.returncode == 0, errors
    completes(machine, corpus)
