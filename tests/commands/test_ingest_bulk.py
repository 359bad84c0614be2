"""`--defer-index` and `bulk` as installed, against a real node and the embedded engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands.shell import SAMPLE, Shell


@pytest.fixture
def some(tmp_path: Path) -> Path:
    path = tmp_path / "some.jsonl"
    path.write_bytes(b"".join(SAMPLE.read_bytes().splitlines(keepends=True)[:20]))
    return path


def still(shell: Shell) -> dict[str, Any]:
    """What a collection's status says, but for what passes by itself."""
    return {name: value for name, value in shell.status("docs").items() if name != "lag_seconds"}


def test_deferring_then_writing_then_publishing(shell: Shell, some: Path, tmp_path: Path):
    ran = shell.process("run", some, "--collection", "docs", "--defer-index")
    assert ran.stdout.startswith("docs: 20 documents, 20 written")
    assert ran.stderr.splitlines()[-1] == (
        "searches do not find this run's changes yet: next, `m3-ingest verify docs --repair`, or "
        "for a first load on a cluster `m3-ingest bulk write docs FOLDER`"
    )
    before = still(shell)
    assert (before["documents"], before["chunks"]) == (0, 0)
    assert before["unpublished"] > 0

    again = shell.report(some, "--collection", "docs", "--defer-index")
    assert (again["unchanged"], again["written"], again["tokens"]) == (20, 0, 0)
    assert still(shell) == before

    files = tmp_path / "files"
    written = json.loads(shell("bulk", "write", "docs", files, "--json").stdout)
    assert written["rows"] == sum(file["rows"] for file in written["files"]) == 20
    assert still(shell) == before
    refused = shell("bulk", "write", "docs", files, expect=2)
    assert "name another" in refused.stderr
    refused = shell("bulk", "import", "docs", files, "--at", "docs", expect=2)
    assert refused.stderr == (
        "error: the embedded Milvus has no import, only a server at M3_MILVUS_URI has: "
        "`m3-ingest verify docs --repair` does the same, row by row\n"
    )

    shell("verify", "docs", "--repair")
    after = shell.status("docs")
    assert (after["documents"], after["unpublished"]) == (20, 0)
    assert "20 unchanged" in shell("run", some, "--collection", "docs").stdout


def test_files_are_written_for_people_too(shell: Shell, some: Path, tmp_path: Path):
    shell("run", some, "--collection", "other", "--defer-index")
    told = shell.process("bulk", "write", "other", tmp_path / "files")
    assert "20 rows of version" in told.stdout
    assert "read back and equal" in told.stdout
    assert told.stdout.endswith(f"next: m3-ingest bulk import other {tmp_path}/files --at PREFIX\n")
    assert "pymilvus" not in told.stderr
    assert "INFO" not in told.stderr
    part = shell("bulk", "write", "other", tmp_path / "part", "--shard", "3/2", expect=2)
    assert "expected I/N" in part.stderr
