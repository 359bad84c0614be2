"""The state directory is lost, wholly: a backup brings the same answers back and embeds nothing."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.system.conftest import Machine

SAMPLE = Path(__file__).parents[2] / "samples/xquad-en/corpus.jsonl"
DOCUMENTS = 60
QUERIES = {"fusion": "Who won the game?", "sparse": "zebra"}
_TOKENS = re.compile(r'^m3_tokens_total\{lane="passage"\} (\S+)$', re.MULTILINE)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(SAMPLE.read_text("utf-8").splitlines()[:DOCUMENTS]), "utf-8")
    return path


@pytest.fixture
def ingested(machine: Machine, corpus: Path) -> Machine:
    """Ingested, then changed, so that the table has versions and rows that were replaced."""
    machine.run("m3-ingest", "run", corpus, "--collection", "docs")
    lines = [orjson.loads(line) for line in corpus.read_bytes().splitlines()]
    for line in lines[:10]:
        line["text"] += " It was a zebra."
    corpus.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    machine.run("m3-ingest", "run", corpus, "--collection", "docs")
    machine.run("m3-ingest", "delete", "docs", "--id", str(lines[20]["_id"]))
    return machine


def hits(machine: Machine, name: str = "docs") -> list[list[dict[str, Any]]]:
    """Ids, texts and all three scores."""
    return [
        orjson.loads(
            machine.run(
                "m3-search", "query", query, "--collection", name, "--method", method, "--json"
            ).stdout
        )["hits"]
        for method, query in QUERIES.items()
    ]


def passage_tokens(machine: Machine) -> float:
    """That the node has computed so far for what is stored."""
    metrics = httpx.get(f"{machine.node}/metrics", trust_env=False, timeout=60)
    found = _TOKENS.search(metrics.text)
    assert found
    return float(found[1])


def lose(machine: Machine) -> None:
    machine.engine.stop()
    shutil.rmtree(machine.home)


def test_all_is_lost_and_restored(ingested: Machine, corpus: Path, tmp_path: Path):
    machine, backup = ingested, tmp_path / "backup"
    before = hits(machine)
    assert all(before)
    status = orjson.loads(machine.run("m3-ingest", "status", "docs", "--json").stdout)
    tokens = passage_tokens(machine)
    [saved] = orjson.loads(
        machine.run("m3-ingest", "backup", "docs", "--to", backup, "--json").stdout
    )
    assert (saved["name"], saved["documents"]) == ("docs", DOCUMENTS - 1)
    assert saved["chunks"] == status["chunks"]

    lose(machine)
    assert "no collection" in machine.run("m3-ingest", "status", "docs", expect=2).stderr
    [restored] = orjson.loads(
        machine.run("m3-ingest", "restore", "docs", "--from", backup, "--json").stdout
    )
    assert (restored["documents"], restored["chunks"]) == (saved["documents"], saved["chunks"])
    assert restored["bytes"] > 0
    assert hits(machine) == before
    machine.run("m3-ingest", "verify", "docs")
    spec = orjson.loads(machine.run("m3-ingest", "status", "docs", "--json").stdout)["spec"]
    assert spec == status["spec"]
    assert spec["stand_in"]
    assert passage_tokens(machine) == tokens

    again = machine.run("m3-ingest", "run", corpus, "--collection", "docs", "--json")
    report = orjson.loads(again.stdout)
    assert (report["unchanged"], report["written"]) == (DOCUMENTS - 1, 1)


@pytest.mark.drill
def test_a_copy_and_a_backup_serve_where_they_lie(ingested: Machine, tmp_path: Path):
    machine, backup = ingested, tmp_path / "backup"
    other = Machine(tmp_path / "other", machine.node)
    before, tokens = hits(machine), passage_tokens(machine)
    machine.run("m3-ingest", "backup", "--all", "--to", backup)
    machine.run("m3-ingest", "copy", "docs", "--to-home", other.home)
    lose(machine)
    try:
        assert hits(other) == before
    finally:
        other.engine.stop()
    machine.settings["M3_TABLES"] = str(backup)
    refused = machine.run("m3-search", "query", "zebra", "--collection", "docs", expect=4)
    assert "m3-ingest verify docs --repair" in refused.stderr
    machine.run("m3-ingest", "verify", "docs", "--repair")
    assert hits(machine) == before
    assert passage_tokens(machine) == tokens
