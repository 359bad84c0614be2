"""A run of `m3-ingest` that is ended by a signal, and the next one."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.commands.shell import Shell, doc, jsonl
from tests.processes import COMMANDS


def test_an_interrupted_run_goes_on_from_where_it_was(shell: Shell, some: Path):
    process = subprocess.Popen(
        [COMMANDS / "m3-ingest", "run", some, "--collection", "interrupted"],
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while "interrupted" not in shell.said("collections") and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
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
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "once more ends at once" in errors
    assert "the same command goes on from there" in errors
    report = json.loads(output)
    assert report["stopped"] == "interrupted"
    assert 0 < report["written"] == shell.status(name)["documents"] < 4000
    process = started(shell, path, name)
    process.send_signal(number)
    time.sleep(0.05)
    process.send_signal(number)
    since = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert time.monotonic() - since < 5
    assert json.loads(shell.said("verify", name, "--repair", "--json"))["consistent"]


def started(shell: Shell, path: Path, name: str) -> subprocess.Popen[str]:
    """A run that has begun to write."""
    before = documents(shell, name)
    process = subprocess.Popen(
        [COMMANDS / "m3-ingest", "run", path, "--collection", name, "--json"],
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while documents(shell, name) == before and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


def documents(shell: Shell, name: str) -> int:
    found = json.loads(shell.said("collections", "--json"))
    return next((each["documents"] for each in found if each["name"] == name), 0)
