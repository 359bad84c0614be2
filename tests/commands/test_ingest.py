"""`m3-ingest` as installed, against a real node and a real store."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from m3.types import DocumentKey
from tests.commands.shell import Shell, doc, jsonl, stored
from tests.processes import COMMANDS


def test_documents_are_ingested_once(shell: Shell, some: Path):
    first = shell.process("run", some, "--collection", "once")
    assert first.stdout.startswith(
        "once: 60 documents, 60 written (0 in place of older), 0 unchanged, 0 failed; "
    )
    assert "English-only stand-in" in first.stdout
    assert f"state directory {shell.home}" in first.stderr
    again = shell.report(some, "--collection", "once")
    assert (again["unchanged"], again["written"], again["tokens"]) == (60, 0, 0)
    assert again["dead_letters"] is None
    status = shell.status("once")
    assert (status["documents"], status["unpublished"]) == (60, 0)
    assert status["spec"]["stand_in"]
    assert "  documents    60" in shell("status", "once").stdout
    assert "once: 60 documents, " in shell("collections").stdout
    assert "once" in [each["name"] for each in json.loads(shell.said("collections", "--json"))]
    verified = json.loads(shell.said("verify", "once", "--json"))
    assert verified["consistent"]
    assert verified["chunks"] == status["chunks"]
    assert "the index lacks 0 and has 0 too many; 0 corrupt" in shell("verify", "once").stdout


def test_a_text_of_over_8192_tokens_is_cut_or_said_to_be(shell: Shell, tmp_path: Path):
    text = " ".join(f"Sentence {i} of a very long text about cats." for i in range(1000))
    path = jsonl(tmp_path / "long.jsonl", doc("long", text))
    cut = shell.report(path, "--collection", "long")
    assert cut["written"] == 1
    assert cut["tokens"] > 8192
    assert cut["chunks"] >= 17
    assert cut["truncated"] == 0
    whole = shell("run", path, "--collection", "long-whole", "--whole")
    assert "1 documents are longer than the model reads" in whole.stderr
    status = shell.status("long-whole")
    assert (status["chunks"], status["spec"]["chunking"]["whole"]) == (1, True)
    again = shell.report(path, "--collection", "long-whole")
    assert again["unchanged"] == 1, "the collection knows how it is cut"


def test_standard_input_names_and_tenants(shell: Shell):
    rows = b'{"url": "u", "body": "Cats purr.", "name": "Cats"}\n'
    flags = ("--id-field", "url", "--text-field", "body", "--title-field", "name")
    to = ("-c", "piped", "--source", "web", "--tenant", "acme")
    assert (
        json.loads(shell.process("run", "-", *flags, *to, "--json", stdin=rows).stdout)["written"]
        == 1
    )
    assert stored(shell, "piped", DocumentKey("acme", "web", "u")) == ("Cats", {}, ["Cats purr."])


def test_a_dry_run_leaves_no_trace(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"), doc("b"), doc("a"))
    done = shell("run", path, "--collection", "dry", "--dry-run", expect=1)
    assert (
        "dry: 3 documents, would be 2 written (0 in place of older), 0 unchanged, 1 failed"
        in done.stdout
    )
    assert "id 'a' was given before" in done.stderr
    assert "dry" not in shell.said("collections")
    assert not list((shell.home / "dead-letters").glob("dry-*"))


def test_documents_and_collections_are_deleted(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"), doc("b"), doc("c"))
    shell.said("run", path, "--collection", "gone")
    deleted = shell.process("delete", "gone", "--id", "a", "--id", "b", "--id", "z", "--json")
    assert json.loads(deleted.stdout) == {"deleted": 2, "not_found": 1}
    assert shell.status("gone")["documents"] == 1
    refused = shell("drop", "gone", expect=2)
    assert refused.stderr == "error: this deletes 1 documents for good: say --yes\n"
    shell.said("drop", "gone", "--yes")
    assert "no collection 'gone'" in shell.said("status", "gone", expect=2)
    assert "no collection 'gone'" in shell.said("delete", "gone", "--id", "a", expect=2)


def test_two_runs_may_make_one_collection(shell: Shell, tmp_path: Path):
    outcomes: list[dict[str, Any]] = []
    paths = [
        jsonl(tmp_path / f"{side}.jsonl", *(doc(f"{side}-{i}") for i in range(20)))
        for side in ("left", "right")
    ]

    def run_of(path: Path) -> None:
        outcomes.append(json.loads(shell.process("run", path, "-c", "both", "--json").stdout))

    runs = [threading.Thread(target=run_of, args=(path,)) for path in paths]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [outcome["written"] for outcome in outcomes] == [20, 20]
    assert shell.status("both")["documents"] == 40


def test_a_log_gets_json_lines(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"), {"_id": "b"})
    done = shell.process("run", path, "-c", "logged", "--json", expect=1, M3_LOG_FORMAT="json")
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    [failed] = [line for line in lines if line["event"].startswith("failed: ")]
    assert (failed["level"], "timestamp" in failed) == ("warning", True)


def test_a_dry_run_tells_what_it_would_take(shell: Shell, some: Path):
    told = shell.report(some, "--collection", "told", "--dry-run")
    assert told["tokens"] > told["chunks"] > 0
    done = shell.report(some, "--collection", "told")
    assert (told["documents"], told["chunks"]) == (done["documents"], done["chunks"])
    assert abs(told["tokens"] / done["tokens"] - 1) < 0.02
    assert told["table_bytes"] == pytest.approx(shell.status("told")["bytes"], rel=0.25)
    # By now the node has measured how fast it is.
    again = shell.report(some, "--collection", "told-again", "--dry-run")
    assert again["embedding_seconds"] > 0
    shown = shell("run", some, "--collection", "told-again", "--dry-run").stdout
    assert "the table would grow by about" in shown
    assert "embedding would take about 0:" in shown


def test_a_terminal_gets_a_bar(shell: Shell, some: Path):
    shown, end = pty.openpty()
    process = subprocess.Popen(
        [COMMANDS / "m3-ingest", "run", some, "--collection", "bar"],
        env={**shell.environment, "TERM": "xterm-256color", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=end,
    )
    os.close(end)
    screen = b""
    try:
        while chunk := os.read(shown, 65536):
            screen += chunk
    except OSError:
        pass  # the other end is closed
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "━".encode() in screen
    assert b"tokens/s" in screen
    assert output.startswith(b"bar: 60 documents, 60 written")
