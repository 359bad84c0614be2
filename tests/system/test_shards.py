"""Four processes that each take a part of a source, without a word between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from m3.settings import load_settings
from m3.types import DEFAULT_TENANT, DocumentKey, Representation
from scoring import definition
from store.contract import Collection
from store.opening import open_store

SAMPLE = Path(__file__).parents[2] / "samples/xquad-en/corpus.jsonl"
SHARDS = 4


def corpus(folder: Path) -> Path:
    """Documents of one to three chunks, and two lines that are none."""
    records = [orjson.loads(line) for line in SAMPLE.read_bytes().splitlines()][:160]
    lines = [
        orjson.dumps({"id": f"d{i}", "text": record["text"], "number": i})
        for i, record in enumerate(records)
    ]
    path = folder / "corpus.jsonl"
    path.write_bytes(b"\n".join([*lines[:80], b"{broken", *lines[80:], b'{"id": "no text"}']))
    return path


def contents(collection: Collection) -> dict[str, Any]:
    """Everything there is, by chunk id."""
    found: dict[str, Any] = {}
    for key in collection.keys(DEFAULT_TENANT, "default"):
        document = collection.document(key)
        assert document is not None
        for chunk in document.chunks:
            found[chunk.id] = (chunk.text, chunk.title, dict(chunk.metadata), chunk.chunks)
    return found


def scores(collection: Collection, query: Representation) -> dict[str, tuple[float, ...]]:
    """By chunk id, of all that its legs find 50 deep: dense, sparse, colbert."""
    found = collection.candidates(query, legs=("dense", "sparse"), depth=50, tenant=DEFAULT_TENANT)
    return {
        chunk.id: definition.scores(query, row)
        for chunk, row in zip(found.rows.chunks, found.rows.embeddings, strict=True)
    }


@pytest.mark.drill
def test_four_shards_at_once_end_as_one_run(machine, tmp_path):
    path = corpus(tmp_path)
    common = ("--max-tokens", "128", "--json", "--home", machine.home)
    machine.run("m3-ingest", "run", path, "-c", "one", *common, expect=1)
    parts = [
        machine.start("m3-ingest", "run", path, "-c", "four", "--shard", f"{i}/{SHARDS}", *common)
        for i in range(SHARDS)
    ]
    reports = [orjson.loads(part.communicate(timeout=120)[0]) for part in parts]
    assert {part.returncode for part in parts} <= {0, 1}
    assert sum(report["documents"] for report in reports) == 162
    assert sum(report["failed"] for report in reports) == 2, "each failure is told once"
    assert all(report["written"] > 20 for report in reports)
    store = open_store(load_settings(home=machine.home))
    try:
        one, four = contents(store.open("one")), contents(store.open("four"))
        assert four == one
        assert len(one) > 160
        key = DocumentKey(DEFAULT_TENANT, "default", "d77")
        for query in store.open("one").embeddings_by_text([key]).values():
            expected, found = (scores(store.open(name), query) for name in ("one", "four"))
            assert found.keys() == expected.keys()
            assert len(found) >= 50
            for chunk, three in expected.items():
                assert found[chunk] == pytest.approx(three, abs=1e-4)
    finally:
        store.close()
    machine.run("m3-ingest", "verify", "four")
