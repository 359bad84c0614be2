"""A disk without room, under each thing a run writes: a plain line, and a rerun that completes."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.disks import more_room, small_disk

SAMPLE = Path(__file__).parents[2] / "samples/xquad-en/corpus.jsonl"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    lines = SAMPLE.read_text("utf-8").splitlines()[:200]
    path.write_text("\n".join(lines), "utf-8")
    return path


def completes(machine, corpus: Path) -> None:
    machine.process("m3-ingest", "run", corpus, "--collection", "docs")
    machine.process("m3-ingest", "verify", "docs")
    status = orjson.loads(machine.process("m3-ingest", "status", "docs", "--json").stdout)
    assert status["documents"] == 200


@pytest.mark.drill
def test_tables(machine, corpus):
    with small_disk(machine.home / "tables", "2m") as disk:
        full = machine.process("m3-ingest", "run", corpus, "--collection", "docs", expect=3)
        assert "full" in full.stderr.splitlines()[-1]
        assert "Traceback" not in full.stderr
        more_room(disk)
        completes(machine, corpus)


@pytest.mark.drill
def test_milvus(machine, corpus):
    """What the engine cannot keep is not published: either the run fails, or nothing is lost."""
    with small_disk(machine.home / "milvus", "256k") as disk:
        full = machine.start("m3-ingest", "run", corpus, "--collection", "docs")
        _, errors = full.communicate(timeout=240)
        print(full.returncode, errors, sorted((f.name, f.stat().st_size) for f in disk.iterdir()))
        assert full.returncode == 3, errors
        assert errors.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in errors
        machine.engine.stop()
        more_room(disk)
        completes(machine, corpus)
        machine.engine.stop()


def test_dead_letters(machine, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text("\n".join(f"{{no json {i} {'x' * 500}" for i in range(200)))
    with small_disk(machine.home / "dead-letters", "8k") as disk:
        full = machine.process("m3-ingest", "run", bad, "--collection", "docs", expect=3)
        assert "dead letters" in full.stderr.splitlines()[-1]
        more_room(disk)
        machine.process("m3-ingest", "run", bad, "--collection", "docs", expect=1)
