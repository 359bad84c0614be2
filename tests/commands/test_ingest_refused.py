"""Bad input for `m3-ingest run`: documents that fail alone, and runs that do not start."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from m3.settings import load_settings
from m3.types import Codec, DocumentKey
from store.opening import open_store
from store.spec import CollectionSpec
from tests.commands.shell import SAMPLE, Shell, doc, jsonl, letters, stored


def test_bad_rows_go_to_the_dead_letters_and_the_rest_is_written(shell: Shell, tmp_path: Path):
    path = jsonl(
        tmp_path / "rows.jsonl",
        doc("a"),
        b'{"_id": "broken", "text": "x"',
        {"_id": "no text"},
        doc("a", "another text"),
        doc("empty", "  "),
        b'{"_id": "latin", "text": "caf\xe9"}',
        {"_id": "typed", "text": "x", "year": "soon"},
        {"_id": "b", "text": "x", "year": 2020},
    )
    report = shell.report(path, "--collection", "bad-rows", "--field", "year:int", expect=1)
    assert (report["documents"], report["written"], report["failed"]) == (8, 2, 6)
    found = {
        letter["line"]: (letter["stage"], letter["document"], letter["error"])
        for letter in letters(report)
    }
    assert sorted(found) == [2, 3, 4, 5, 6, 7]
    assert found[2] == ("parse", None, "invalid JSON at character 31: unexpected end of data")
    assert found[3] == ("parse", None, "there is no field 'text' with the text")
    assert found[4] == ("parse", "a", f"id 'a' was given before, at {path}:1")
    assert found[5] == ("parse", None, "empty text")
    assert found[6] == ("parse", None, "invalid UTF-8 at byte 30")
    assert found[7][:2] == ("write", "typed")
    assert "year" in found[7][2]
    assert letters(report)[0]["raw"]
    assert shell.status("bad-rows")["documents"] == 2
    plain = shell.process("run", path, "--collection", "bad-rows", expect=1)
    assert f"failed: {path}:2: invalid JSON" in plain.stderr
    assert f"6 failed, kept in {shell.home / 'dead-letters'}" in plain.stderr


def test_missing_paths_and_empty_folders_stop_before_anything_starts(shell: Shell, tmp_path: Path):
    good = jsonl(tmp_path / "good.jsonl", doc("a"))
    gone = tmp_path / "gone.jsonl"
    done = shell.process("run", good, gone, "--collection", "nothing", expect=2)
    assert done.stderr == f"error: there is no file or folder {gone}\n"
    (tmp_path / "empty").mkdir()
    done = shell("run", tmp_path / "empty", "--collection", "nothing", expect=2)
    assert done.stderr.startswith(f"error: folder {tmp_path / 'empty'} holds no documents")
    assert "nothing" not in shell.said("collections")


def test_a_line_of_100_mb_fails_alone(shell: Shell, tmp_path: Path):
    huge = b'{"_id": "huge", "text": "' + b"x" * 100 * 2**20 + b'"}'
    path = jsonl(tmp_path / "huge.jsonl", doc("a"), huge, doc("b"))
    report = shell.report(path, "--collection", "huge", expect=1)
    assert (report["written"], report["failed"]) == (2, 1)
    [letter] = letters(report)
    assert (letter["line"], letter["raw"]) == (2, None)
    assert letter["error"] == "the line is over 32 MB: split it"


def test_garbage_in_a_folder_fails_alone(shell: Shell, tmp_path: Path):
    garbage = os.urandom(20_000).replace(b"\n", b"\0")
    for name in ("a.jsonl", "b.md", "c.txt"):
        (tmp_path / name).write_bytes(b"\0" + garbage)
    (tmp_path / "d.txt").write_bytes(b"caf\xe9")
    (tmp_path / "e.md").write_text("---\na: b: c\n---\ntext")
    (tmp_path / "image.png").write_bytes(garbage)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "good.md").write_text("---\nlang: en\n---\n# Cats\n\nThey purr.")
    done = shell("run", tmp_path, "--collection", "garbage", "--json", expect=1)
    report = json.loads(done.stdout)
    assert (report["written"], report["failed"]) == (1, 5)
    assert "not read, of other formats: 1 .png" in done.stderr
    assert [Path(letter["source"]).name for letter in letters(report)] == [
        "a.jsonl",
        "b.md",
        "c.txt",
        "d.txt",
        "e.md",
    ]
    assert stored(shell, "garbage", DocumentKey("default", "default", "deep/good.md")) == (
        "Cats",
        {"lang": "en"},
        ["# Cats\n\nThey purr."],
    )


def test_a_collection_of_another_model_is_left_alone(shell: Shell, tmp_path: Path):
    store = open_store(load_settings(home=shell.home))
    store.create("other-model", CollectionSpec("other/model", "0" * 32, "fp32", 384, Codec.INT8))
    store.close()
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    done = shell("run", path, "--collection", "other-model", expect=4)
    assert "collection 'other-model' holds vectors of other/model" in done.stderr
    assert shell.status("other-model")["documents"] == 0


def test_a_node_that_is_down_is_said(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    done = shell("run", path, "-c", "no-node", expect=3, M3_EMBEDDER_URL="http://127.0.0.1:9")
    assert done.stderr.splitlines()[-1].startswith(
        "error: no embedder node answers at http://127.0.0.1:9"
    )
    assert "no-node" not in shell.said("collections")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """8 MB of it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs needs root: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.drill
def test_a_full_disk_is_said_and_a_rerun_completes(shell: Shell, small_disk: Path):
    tables = {"M3_TABLES": str(small_disk)}
    done = shell("run", SAMPLE, "--collection", "full", expect=3, **tables)
    assert "full: free some room" in done.stderr.splitlines()[-1]
    subprocess.run(["mount", "-o", "remount,size=256m", small_disk], check=True)
    report = shell.report(SAMPLE, "--collection", "full", **tables)
    assert report["written"] + report["unchanged"] == 240
    assert json.loads(shell.said("verify", "full", "--json", **tables))["consistent"]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--collection", "bad name"], "collection name 'bad name'"),
        (["--collection", "x", "--format", "docx"], "format 'docx' is not known"),
        (["--collection", "x", "--field", "year"], "--field year: expected NAME:TYPE"),
        (["--collection", "x", "--field", "year:date"], "of string, int, float, bool, strings"),
        (["--collection", "x", "--whole", "--max-tokens", "99"], "--whole does not cut"),
        (["--collection", "x", "--max-tokens", "9000"], "this model takes 16 to 512"),
        (["--collection", "x", "--overlap", "300"], "0 to half"),
        (["--collection", "x", "--pooling", "0"], "pooling must be from 1 to 4, got 0"),
    ],
)
def test_flags_that_cannot_be_are_refused(
    shell: Shell, tmp_path: Path, flags: list[str], reason: str
):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    assert reason in shell.said("run", path, *flags, expect=2)


def test_a_limit_of_deletions_without_sync_is_refused(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    refused = shell.said("run", path, "-c", "unsynced", "--max-deletes", "10%", expect=2)
    assert "--max-deletes limits what --sync deletes: say --sync too" in refused
    assert "unsynced" not in shell.said("collections")
    shell.said("run", path, "-c", "synced", "--sync", "--max-deletes", "10%")


def test_a_run_stops_where_too_many_documents_fail(shell: Shell, tmp_path: Path):
    bad = [{"_id": f"bad-{i}"} for i in range(300)]
    path = jsonl(tmp_path / "rows.jsonl", *(doc(f"good-{i}") for i in range(300)), *bad)
    flags = ("-c", "limited", "--max-errors")
    done = shell("run", path, *flags, 10, "--json", expect=1)
    assert "as --max-errors says" in done.stderr
    report = json.loads(done.stdout)
    assert report["stopped"] == "max_errors"
    assert 10 < report["failed"] < 300
    assert report["written"] == shell.status("limited")["documents"]
    allowed = shell.report(path, *flags, "50%", expect=1)
    assert (allowed["stopped"], allowed["failed"]) == (None, 300)
    assert shell.status("limited")["documents"] == 300
    assert "expected a number, or 0% to 100%" in shell.said("run", path, *flags, "x", expect=2)


def test_dead_letters_are_retried(shell: Shell, tmp_path: Path):
    long = {"_id": "long", "text": "x " * 10_000, "year": "soon"}
    path = jsonl(
        tmp_path / "rows.jsonl",
        doc("a"),
        {"_id": "typed", "body": "Dogs bark.", "year": "soon"},
        long,
        b'{"_id": "broken"',
    )
    flags = ("--source", "web", "--tenant", "acme", "--field", "year:int")
    report = shell.report(path, "-c", "retried", *flags, expect=1)
    assert (report["written"], report["failed"]) == (1, 3)
    # One letter is mended in its file, one at its source, one not at all.
    letters_path = Path(report["dead_letters"])
    mended = letters_path.read_text().replace("body", "text").replace(r"\"soon\"", "2020")
    letters_path.write_text(mended)
    jsonl(path, doc("a"), {"_id": "x"}, {**long, "year": 2021}, b'{"_id": "broken"')
    assert "no collection 'retired'" in shell.said("retry", letters_path, "-c", "retired", expect=2)
    assert letters_path.exists()
    done = shell("retry", letters_path, "-c", "retried", "--json", expect=1)
    again = json.loads(done.stdout)
    assert (again["documents"], again["written"], again["failed"]) == (3, 2, 1)
    assert not letters_path.exists()
    found = stored(shell, "retried", DocumentKey("acme", "web", "typed"))
    assert found == ("", {"year": 2020}, ["Dogs bark."])
    assert stored(shell, "retried", DocumentKey("acme", "web", "long"))
    [left] = letters(again)
    assert (left["line"], left["source"], left["raw"]) == (4, str(path), '{"_id": "broken"')
    mended = Path(again["dead_letters"])
    mended.write_text(
        mended.read_text().replace(r"{\"_id\": \"broken\"", r"{\"_id\": \"b\", \"text\": \"x\"}")
    )
    last = json.loads(shell.said("retry", mended, "-c", "retried", "--json"))
    assert (last["written"], last["failed"], last["dead_letters"]) == (1, 0, None)
    assert shell.status("retried")["documents"] == 4


def test_what_is_no_file_of_dead_letters_is_refused(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    refused = shell.said("retry", path, "-c", "retried", expect=2)
    assert f"{path}:1 is no dead letter" in refused
    assert path.exists()
    assert "cannot read" in shell.said("retry", tmp_path / "none", "-c", "retried", expect=2)
