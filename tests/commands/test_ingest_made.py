"""What a collection keeps of the run that made it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from m3.codec import width
from m3.types import Codec
from tests.commands.shell import Shell, doc, jsonl


def test_a_collection_keeps_how_it_was_made(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    made = ("--max-tokens", 100, "--overlap", 10, "--field", "year:int")
    shell("run", path, "--collection", "made", *made)
    chunking = {"max_tokens": 100, "overlap": 10, "whole": False, "context": "title"}
    spec = shell.status("made")["spec"]
    assert (spec["chunking"], spec["fields"]) == (chunking, {"year": "int"})
    again = shell.said("run", path, "--collection", "made", "--json")
    assert json.loads(again)["unchanged"] == 1
    for flags in (
        ["--max-tokens", 99],
        ["--overlap", 0],
        ["--whole"],
        ["--field", "a:int"],
        ["--pooling", 2],
    ):
        refused = shell.said("run", path, "-c", "made", *flags, expect=2)
        assert f"was made with another {flags[0]}" in refused


def test_a_collection_may_be_one_tenants_own(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    run, acme = ("run", path, "-c", "acmes"), ("--tenant", "acme")
    assert "1 written" in shell.said(*run, *acme, "--tenancy", "own")
    assert "tenancy      own, acme" in shell.said("status", "acmes")
    assert "1 unchanged" in shell.said(*run, *acme)
    assert "say --tenant acme, or name another" in shell.said(*run, expect=2)
    refused = shell.said(*run, *acme, "--tenancy", "shared", expect=2)
    assert "was made with another --tenancy" in refused
    assert "nothing of tenant 'default'" in shell.said("delete", "acmes", "--id", "a", expect=2)


def test_a_collection_may_keep_one_vector_for_two_tokens(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    run = ("run", path, "-c", "pooled")
    shell.said(*run, "--pooling", 2)
    assert " dimensions, int8, one for 2 tokens\n" in shell.said("status", "pooled")
    assert "1 unchanged" in shell.said(*run)
    halved = _vectors(shell, "pooled", tmp_path)
    assert halved["vectors"] == -(-halved["tokens"] // 2)
    assert "it would be what serves already" in shell.said("rebuild", "pooled", expect=2)
    shell.said("rebuild", "pooled", "--pooling", 1)
    assert ", 2 tokens a vector" in shell.said("generations", "pooled").splitlines()[0]
    shell.said("promote", "pooled")
    whole = _vectors(shell, "pooled", tmp_path)
    assert whole["vectors"] == whole["tokens"] == halved["tokens"]


def _vectors(shell: Shell, name: str, folder: Path) -> dict[str, int]:
    """Tokens and ColBERT vectors of a collection's one chunk."""
    file = folder / f"{name}.parquet"
    file.unlink(missing_ok=True)
    shell.said("export", name, file, "--vectors")
    [row] = pq.read_table(file).to_pylist()
    size = width(len(row["dense"]), Codec.INT8)
    return {"tokens": len(row["token_ids"]), "vectors": len(row["codes"]) // size}


@pytest.mark.drill
def test_a_rebuild_may_change_whose_a_collection_is(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    run = ("run", path, "-c", "rebuilt-own", "--tenant")
    own = ("rebuild", "rebuilt-own", "--tenancy", "own")
    shell.said(*run, "acme")
    shell.said(*run, "other")
    refused = shell.said(*own, "--tenant", "acme", expect=2)
    assert "has documents of tenant 'other' too" in refused
    assert "say --tenancy own too" in shell.said(*own[:2], "--tenant", "acme", expect=2)
    shell.said("delete", "rebuilt-own", "--id", "a", "--tenant", "other")
    shell.said(*own, "--tenant", "acme")
    status = shell.status("rebuilt-own")
    assert status["building"] == {"generation": 2, "documents": 1, "of": 1}
    assert (status["previous"], status["lag_seconds"]) == (None, 0.0)
    assert datetime.fromisoformat(status["published_at"]) <= datetime.now(UTC)
    shown = shell.said("status", "rebuilt-own")
    assert "  generation   1 serves, 2 is being made (1 of 1 documents)\n" in shown
    assert "  lag          0 s (0 commits wait for the index)\n" in shown
    shell.said("promote", "rebuilt-own")
    assert shell.status("rebuilt-own")["building"] is None
    assert "  generation   2 serves, 1 served before\n" in shell.said("status", "rebuilt-own")
    assert shell.status("rebuilt-own")["spec"]["owner"] == "acme"
    assert "1 unchanged" in shell.said(*run, "acme")
    shell.said("purge", "rebuilt-own")
    shell.said("rebuild", "rebuilt-own", "--tenancy", "shared")
    shell.said("promote", "rebuilt-own")
    shell.said(*run, "other")
    assert shell.status("rebuilt-own")["documents"] == 2
