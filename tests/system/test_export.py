"""`m3-ingest export`: what is written comes back unchanged, and what cannot be written says why."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest

from tests.disks import small_disk
from tests.system.conftest import Machine

SAMPLE = Path(__file__).parents[2] / "samples/xquad-en/corpus.jsonl"
DOCUMENTS = 40


@pytest.mark.drill
def test_documents_and_vectors_are_exported(machine: Machine, tmp_path: Path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join(SAMPLE.read_text("utf-8").splitlines()[:DOCUMENTS]), "utf-8")
    machine.run("m3-ingest", "run", corpus, "-c", "docs", "--max-tokens", "64")
    status = orjson.loads(machine.run("m3-ingest", "status", "docs", "--json").stdout)

    for name, more in [("d.jsonl", ()), ("d.parquet", ()), ("other", ("--format", "parquet"))]:
        file = tmp_path / name
        done = machine.run("m3-ingest", "export", "docs", file, *more)
        assert done.stdout == f"docs: {DOCUMENTS} documents in {file}\n"
        assert done.stderr == ""
        form = ("--format", "parquet") if more else ()
        again = machine.run("m3-ingest", "run", file, "-c", "docs", *form, "--json")
        report = orjson.loads(again.stdout)
        assert (report["unchanged"], report["written"]) == (DOCUMENTS, 0)

    chunks = tmp_path / "chunks.parquet"
    told = machine.run("m3-ingest", "export", "docs", chunks, "--vectors", "--json").stdout
    assert orjson.loads(told)["chunks"] == status["chunks"] > DOCUMENTS
    table = pq.read_table(chunks)
    assert len(table) == status["chunks"]
    assert set(table["dense"].combine_chunks().value_lengths().to_pylist()) == {
        status["spec"]["dimension"]
    }
    read = machine.run("m3-ingest", "run", chunks, "-c", "docs", expect=1)
    assert "there is no column _id or id" in read.stderr

    for file, more, said in [
        ("x.jsonl", ("--vectors",), f"name {tmp_path}/x.parquet"),
        ("x.parquet", ("--vectors", "--format", "jsonl"), "say --format parquet"),
        ("x", ("--format", "csv"), "--format csv: jsonl or parquet"),
        ("x", ("--tenant", "t"), "no documents of source 'default' and tenant 't'"),
        ("d.jsonl", (), "is there already"),
    ]:
        refused = machine.run("m3-ingest", "export", "docs", tmp_path / file, *more, expect=2)
        [line] = refused.stderr.splitlines()
        assert line.startswith("error: ")
        assert said in line

    with small_disk(tmp_path / "disk", "16k") as disk:
        full = machine.run("m3-ingest", "export", "docs", disk / "d.jsonl", expect=3)
        [line] = full.stderr.splitlines()
        assert line.startswith(f"error: there is no room left for {disk / 'd.jsonl'}: free some")
