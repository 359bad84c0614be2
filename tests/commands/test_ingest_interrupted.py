"""A run of `m3-ingest` that is ended by a signal, and the next one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from m3.settings import load_settings
from store.index.engine import Engine
from tests.commands.shell import Shell, doc, jsonl
from tests.gate import gate
from tests.processes import COMMANDS

PATIENCE = 120


def test_an_interrupted_run_goes_on_from_where_it_was(shell: Shell, node: str, some: Path):
    with gate(node, passing=1) as held:
        process = subprocess.Popen(
            [COMMANDS / "m3-ingest", "run", some, "--collection", "interrupted"],
            env={**shell.environment, "M3_EMBEDDER_URL": held.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert held.waiting.wait(PATIENCE)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    report = shell.report(some, "--collection", "interrupted")
    assert report["written"] + report["unchanged"] == 60
    assert shell.status("interrupted")["documents"] == 60


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.drill)]
)
def test_a_signal_ends_a_run_in_order_and_the_next_one_at_once(
    shell: Shell, tmp_path: Path, number: signal.Signals
):
    path = jsonl(tmp_path / "rows.jsonl", *(doc(f"d{i}", f"cats {i} " * 80) for i in range(4000)))
    name = f"stopped-{number.name}"
    process = started(shell, path, name)
    process.send_signal(number)
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert "once more ends at once" in errors
    assert "the same command goes on from there" in errors
    report = json.loads(output)
    assert report["stopped"] == "interrupted"
    assert 0 < report["written"] == shell.status(name)["documents"] < 4000
    process = started(shell, path, name)
    engine = Engine.of(load_settings(home=shell.home)).status().pid
    assert engine is not None
    # What is embedded cannot be published now: an end in order would take for ever.
    os.kill(engine, signal.SIGSTOP)
    try:
        process.send_signal(number)
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("interrupted: "):
            assert line, "it ended"
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        os.kill(engine, signal.SIGCONT)
    assert process.returncode == 130, errors
    assert "ended at once" in errors
    assert json.loads(shell.said("verify", name, "--repair", "--json"))["consistent"]


def started(shell: Shell, path: Path, name: str) -> subprocess.Popen[str]:
    """A run that has begun to write."""
    before = documents(shell, name)
    process = subprocess.Popen(
        [COMMANDS / "m3-ingest", "run", path, "--collection", name, "--json"],
        # A call to an engine that hangs is not given up within the test.
        env={**shell.environment, "M3_MILVUS_TIMEOUT": "600"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE
    while documents(shell, name) == before:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return process


def documents(shell: Shell, name: str) -> int:
    found = json.loads(shell.said("collections", "--json"))
    return next((each["documents"] for each in found if each["name"] == name), 0)
