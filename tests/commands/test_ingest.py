"""The installed command against a real node and a real store: what bad input gets."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from commands.ingest import app
from m3.codec import width
from m3.errors import M3Error
from m3.settings import load_settings
from m3.types import Codec, DocumentKey
from store.contract import CollectionSpec
from store.index.engine import Engine
from store.opening import open_store
from tests.processes import COMMANDS

SAMPLE = Path(__file__).parents[2] / "samples" / "xquad-en" / "corpus.jsonl"


class Shell:
    """`m3-ingest` in a state directory, with a node."""

    def __init__(self, home: Path, node: str) -> None:
        self.home = home
        self.environment = {**os.environ, "M3_HOME": str(home), "M3_EMBEDDER_URL": node}

    def __call__(
        self, *arguments: object, expect: int = 0, stdin: bytes = b"", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [COMMANDS / "m3-ingest", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            env={**self.environment, **settings},
            timeout=120,
            check=False,
        )
        output, errors = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == expect, f"{done.returncode}\n{output}\n{errors}"
        assert "Traceback" not in errors
        return subprocess.CompletedProcess(done.args, done.returncode, output, errors)

    def report(self, *arguments: object, expect: int = 0, **more: Any) -> dict[str, Any]:
        return json.loads(self("run", *arguments, "--json", expect=expect, **more).stdout)

    def here(self, *arguments: object, expect: int = 0, **settings: str) -> str:
        """The command in this process, which is quicker; its output, or what it refused with."""
        done = CliRunner().invoke(
            app, [str(argument) for argument in arguments], env={**self.environment, **settings}
        )
        if isinstance(done.exception, M3Error):
            assert done.exception.exit_code == expect, done.exception
            return done.exception.message
        assert done.exit_code == expect, f"{done.output}{done.exception!r}"
        return done.stdout

    def status(self, name: str) -> dict[str, Any]:
        return json.loads(self.here("status", name, "--json"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    yield home
    Engine.of(load_settings(home=home)).stop()


@pytest.fixture
def shell(home: Path, node: str) -> Shell:
    return Shell(home, node)


def jsonl(path: Path, *records: Any) -> Path:
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def doc(id: str, text: str = "A text about cats.") -> dict[str, Any]:
    return {"_id": id, "text": text}


@pytest.fixture
def some(tmp_path: Path) -> Path:
    """A part of the sample, enough for several requests."""
    path = tmp_path / "some.jsonl"
    path.write_bytes(b"".join(SAMPLE.read_bytes().splitlines(keepends=True)[:60]))
    return path


def letters(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(report["dead_letters"]).read_text().splitlines()]


def stored(shell: Shell, name: str, key: DocumentKey) -> tuple[str, Any, list[str]] | None:
    """A document as the store has it: title, metadata and the texts of its chunks."""
    store = open_store(load_settings(home=shell.home))
    try:
        found = store.open(name).document(key)
    finally:
        store.close()
    return found and (found.title, found.metadata, [chunk.text for chunk in found.chunks])


def test_documents_are_ingested_once(shell: Shell, some: Path):
    first = shell("run", some, "--collection", "once")
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
    assert "once" in [each["name"] for each in json.loads(shell.here("collections", "--json"))]
    verified = json.loads(shell.here("verify", "once", "--json"))
    assert verified["consistent"]
    assert verified["chunks"] == status["chunks"]
    assert "the index lacks 0 and has 0 too many; 0 corrupt" in shell("verify", "once").stdout


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
    plain = shell("run", path, "--collection", "bad-rows", expect=1)
    assert f"failed: {path}:2: invalid JSON" in plain.stderr
    assert f"6 failed, kept in {shell.home / 'dead-letters'}" in plain.stderr


def test_missing_paths_and_empty_folders_stop_before_anything_starts(shell: Shell, tmp_path: Path):
    good = jsonl(tmp_path / "good.jsonl", doc("a"))
    gone = tmp_path / "gone.jsonl"
    done = shell("run", good, gone, "--collection", "nothing", expect=2)
    assert done.stderr == f"error: there is no file or folder {gone}\n"
    (tmp_path / "empty").mkdir()
    done = shell("run", tmp_path / "empty", "--collection", "nothing", expect=2)
    assert done.stderr.startswith(f"error: folder {tmp_path / 'empty'} holds no documents")
    assert "nothing" not in shell.here("collections")


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
    assert "no-node" not in shell.here("collections")


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
    assert json.loads(shell.here("verify", "full", "--json", **tables))["consistent"]


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
    """In this process: what a refusal is made of has been shown with a process."""
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    assert reason in shell.here("run", path, *flags, expect=2)


def test_a_collection_keeps_how_it_was_made(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    made = ("--max-tokens", 100, "--overlap", 10, "--field", "year:int")
    shell("run", path, "--collection", "made", *made)
    chunking = {"max_tokens": 100, "overlap": 10, "whole": False, "context": "title"}
    spec = shell.status("made")["spec"]
    assert (spec["chunking"], spec["fields"]) == (chunking, {"year": "int"})
    again = shell.here("run", path, "--collection", "made", "--json")
    assert json.loads(again)["unchanged"] == 1
    for flags in (
        ["--max-tokens", 99],
        ["--overlap", 0],
        ["--whole"],
        ["--field", "a:int"],
        ["--pooling", 2],
    ):
        refused = shell.here("run", path, "-c", "made", *flags, expect=2)
        assert f"was made with another {flags[0]}" in refused


def test_standard_input_names_and_tenants(shell: Shell):
    rows = b'{"url": "u", "body": "Cats purr.", "name": "Cats"}\n'
    flags = ("--id-field", "url", "--text-field", "body", "--title-field", "name")
    to = ("-c", "piped", "--source", "web", "--tenant", "acme")
    assert shell.report("-", *flags, *to, stdin=rows)["written"] == 1
    assert stored(shell, "piped", DocumentKey("acme", "web", "u")) == ("Cats", {}, ["Cats purr."])


def test_a_collection_may_be_one_tenants_own(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    run, acme = ("run", path, "-c", "acmes"), ("--tenant", "acme")
    assert "1 written" in shell.here(*run, *acme, "--tenancy", "own")
    assert "tenancy      own, acme" in shell.here("status", "acmes")
    assert "1 unchanged" in shell.here(*run, *acme)
    assert "say --tenant acme, or name another" in shell.here(*run, expect=2)
    refused = shell.here(*run, *acme, "--tenancy", "shared", expect=2)
    assert "was made with another --tenancy" in refused
    assert "nothing of tenant 'default'" in shell.here("delete", "acmes", "--id", "a", expect=2)


def test_a_collection_may_keep_one_vector_for_two_tokens(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    run = ("run", path, "-c", "pooled")
    shell.here(*run, "--pooling", 2)
    assert " dimensions, int8, one for 2 tokens\n" in shell.here("status", "pooled")
    assert "1 unchanged" in shell.here(*run)
    halved = _vectors(shell, "pooled", tmp_path)
    assert halved["vectors"] == -(-halved["tokens"] // 2)
    assert "it would be what serves already" in shell.here("rebuild", "pooled", expect=2)
    shell.here("rebuild", "pooled", "--pooling", 1)
    assert ", 2 tokens a vector" in shell.here("generations", "pooled").splitlines()[0]
    shell.here("promote", "pooled")
    whole = _vectors(shell, "pooled", tmp_path)
    assert whole["vectors"] == whole["tokens"] == halved["tokens"]


def _vectors(shell: Shell, name: str, folder: Path) -> dict[str, int]:
    """Tokens and ColBERT vectors of a collection's one chunk."""
    file = folder / f"{name}.parquet"
    file.unlink(missing_ok=True)
    shell.here("export", name, file, "--vectors")
    [row] = pq.read_table(file).to_pylist()
    size = width(len(row["dense"]), Codec.INT8)
    return {"tokens": len(row["token_ids"]), "vectors": len(row["codes"]) // size}


@pytest.mark.drill
def test_a_rebuild_may_change_whose_a_collection_is(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    run = ("run", path, "-c", "rebuilt-own", "--tenant")
    own = ("rebuild", "rebuilt-own", "--tenancy", "own")
    shell.here(*run, "acme")
    shell.here(*run, "other")
    refused = shell.here(*own, "--tenant", "acme", expect=2)
    assert "has documents of tenant 'other' too" in refused
    assert "say --tenancy own too" in shell.here(*own[:2], "--tenant", "acme", expect=2)
    shell.here("delete", "rebuilt-own", "--id", "a", "--tenant", "other")
    shell.here(*own, "--tenant", "acme")
    status = shell.status("rebuilt-own")
    assert status["building"] == {"generation": 2, "documents": 1, "of": 1}
    assert (status["previous"], status["lag_seconds"]) == (None, 0.0)
    assert datetime.fromisoformat(status["published_at"]) <= datetime.now(UTC)
    shown = shell.here("status", "rebuilt-own")
    assert "  generation   1 serves, 2 is being made (1 of 1 documents)\n" in shown
    assert "  lag          0 s (0 commits wait for the index)\n" in shown
    shell.here("promote", "rebuilt-own")
    assert shell.status("rebuilt-own")["building"] is None
    assert "  generation   2 serves, 1 served before\n" in shell.here("status", "rebuilt-own")
    assert shell.status("rebuilt-own")["spec"]["owner"] == "acme"
    assert "1 unchanged" in shell.here(*run, "acme")
    shell.here("purge", "rebuilt-own")
    shell.here("rebuild", "rebuilt-own", "--tenancy", "shared")
    shell.here("promote", "rebuilt-own")
    shell.here(*run, "other")
    assert shell.status("rebuilt-own")["documents"] == 2


def test_a_limit_of_deletions_without_sync_is_refused(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    refused = shell.here("run", path, "-c", "unsynced", "--max-deletes", "10%", expect=2)
    assert "--max-deletes limits what --sync deletes: say --sync too" in refused
    assert "unsynced" not in shell.here("collections")
    shell.here("run", path, "-c", "synced", "--sync", "--max-deletes", "10%")


def test_a_dry_run_leaves_no_trace(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"), doc("b"), doc("a"))
    done = shell("run", path, "--collection", "dry", "--dry-run", expect=1)
    assert (
        "dry: 3 documents, would be 2 written (0 in place of older), 0 unchanged, 1 failed"
        in done.stdout
    )
    assert "id 'a' was given before" in done.stderr
    assert "dry" not in shell.here("collections")
    assert not list((shell.home / "dead-letters").glob("dry-*"))


def test_documents_and_collections_are_deleted(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"), doc("b"), doc("c"))
    shell.here("run", path, "--collection", "gone")
    deleted = shell("delete", "gone", "--id", "a", "--id", "b", "--id", "z", "--json")
    assert json.loads(deleted.stdout) == {"deleted": 2, "not_found": 1}
    assert shell.status("gone")["documents"] == 1
    refused = shell("drop", "gone", expect=2)
    assert refused.stderr == "error: this deletes 1 documents for good: say --yes\n"
    shell.here("drop", "gone", "--yes")
    assert "no collection 'gone'" in shell.here("status", "gone", expect=2)
    assert "no collection 'gone'" in shell.here("delete", "gone", "--id", "a", expect=2)


def test_two_runs_may_make_one_collection(shell: Shell, tmp_path: Path):
    outcomes: list[dict[str, Any]] = []
    paths = [
        jsonl(tmp_path / f"{side}.jsonl", *(doc(f"{side}-{i}") for i in range(20)))
        for side in ("left", "right")
    ]
    runs = [
        threading.Thread(target=lambda p=p: outcomes.append(shell.report(p, "-c", "both")))
        for p in paths
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [outcome["written"] for outcome in outcomes] == [20, 20]
    assert shell.status("both")["documents"] == 40


def test_an_interrupted_run_goes_on_from_where_it_was(shell: Shell, some: Path):
    process = subprocess.Popen(
        [COMMANDS / "m3-ingest", "run", some, "--collection", "interrupted"],
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while "interrupted" not in shell.here("collections") and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    report = shell.report(some, "--collection", "interrupted")
    assert report["written"] + report["unchanged"] == 60
    assert shell.status("interrupted")["documents"] == 60


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
    last = json.loads(shell.here("retry", mended, "-c", "retried", "--json"))
    assert (last["written"], last["failed"], last["dead_letters"]) == (1, 0, None)
    assert shell.status("retried")["documents"] == 4


def test_what_is_no_file_of_dead_letters_is_refused(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"))
    refused = shell.here("retry", path, "-c", "retried", expect=2)
    assert f"{path}:1 is no dead letter" in refused
    assert path.exists()
    assert "cannot read" in shell.here("retry", tmp_path / "none", "-c", "retried", expect=2)


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
    assert "expected a number, or 0% to 100%" in shell.here("run", path, *flags, "x", expect=2)


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
    assert json.loads(shell.here("verify", name, "--repair", "--json"))["consistent"]


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
    found = json.loads(shell.here("collections", "--json"))
    return next((each["documents"] for each in found if each["name"] == name), 0)


def test_a_log_gets_json_lines(shell: Shell, tmp_path: Path):
    path = jsonl(tmp_path / "rows.jsonl", doc("a"), {"_id": "b"})
    done = shell("run", path, "-c", "logged", "--json", expect=1, M3_LOG_FORMAT="json")
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
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "━".encode() in screen
    assert b"tokens/s" in screen
    assert output.startswith(b"bar: 60 documents, 60 written")
