"""What compacting keeps, and what purging leaves nothing of, on real tables and a real engine."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lance.optimize import Compaction

from m3.errors import MilvusUnreachable, Overtaken
from m3.settings import Settings
from store.collection import StoredCollection
from store.contract import Collection, Store
from store.generations import compaction
from store.generations.publication import Publisher
from store.index.engine import Engine
from store.table import table
from tests.pace import until
from tests.store.examples import SPEC, document_rows, key, query

NOW = timedelta(0)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def collection(store: Store, rng: np.random.Generator) -> Collection:
    """Of 12 fragments, some with rows that are gone."""
    made = store.create("docs", SPEC)
    for i in range(12):
        made.replace([document_rows(rng, f"d{i}", chunks=2)])
    made.replace([document_rows(rng, "d3", word="changed")])
    made.delete([key("d5")])
    return made


def found(collection: Collection, asked: np.random.Generator) -> list[tuple[int, str]]:
    rows = collection.candidates(
        query(asked), legs=["dense", "sparse"], depth=30, tenant="default"
    ).rows
    return sorted((chunk.row, chunk.id) for chunk in rows.chunks)


def test_compacting_changes_nothing_that_is_read(collection: Collection):
    before, documents = found(collection, np.random.default_rng(1)), _documents(collection)
    done = collection.compact(NOW)
    assert (done.fragments_before > 8, done.fragments) == (True, 1)
    assert done.bytes_freed > 0
    assert found(collection, np.random.default_rng(1)) == before
    assert _documents(collection) == documents
    status = collection.status()
    assert (status.documents, status.unpublished) == (11, 0)
    assert collection.verify().consistent


def test_young_versions_stay(collection: Collection):
    assert collection.compact(timedelta(hours=1)).bytes_freed == 0


@pytest.mark.usefixtures("clock")
def test_versions_that_the_index_still_needs_stay(collection: Collection):
    # What was just replaced is swept from the index by the difference of two old versions.
    collection.compact(NOW)
    collection.settle()
    assert collection.verify().stale == 0


def test_compacting_beside_writers_and_readers(store: Store, collection: Collection):
    stop, failures, rounds = threading.Event(), list[Exception](), [0, 0, 0]

    def go_on(number: int) -> None:
        rng, mine = np.random.default_rng(number), store.open("docs")
        while not stop.is_set():
            try:
                if number:
                    mine.replace([document_rows(rng, f"w{number}", chunks=3, word="x")])
                else:
                    ids = [one.split("#")[0] for _, one in found(mine, rng)]
                    assert "default/d1" in ids
            except Overtaken:
                # The machine is too busy for this search: nothing wrong was read.
                continue
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told below
                failures.append(error)
            rounds[number] += 1

    threads = [threading.Thread(target=go_on, kwargs={"number": i}) for i in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            collection.compact(timedelta(seconds=1))
            until(lambda before=list(rounds): all(map(operator.gt, rounds, before)))
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not failures
    collection.settle()
    assert collection.verify().consistent
    assert collection.status().documents == 13


@pytest.mark.usefixtures("clock")
def test_a_run_ends_with_a_tidy_table(collection: Collection, monkeypatch: pytest.MonkeyPatch):
    settled = collection.compact(timedelta(days=1)).fragments
    monkeypatch.setattr(compaction, "MOST_FRAGMENTS", 3)
    rng = np.random.default_rng(2)
    for i in range(5):
        collection.replace([document_rows(rng, f"e{i}")])
    collection.settle()
    assert collection.compact(timedelta(days=1)).fragments_before == settled
    assert collection.status().unpublished == 0


def test_many_small_files_become_few_beside_a_run(
    store: Store, collection: Collection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(compaction, "MOST_AMID_RUN", 16)
    before = found(collection, np.random.default_rng(1))
    store.open("docs").tidy()
    assert _fragments(collection) > 8, "these are not many"
    monkeypatch.setattr(compaction, "MOST_AMID_RUN", 3)
    store.open("docs").tidy()
    assert _fragments(collection) == 1
    assert found(collection, np.random.default_rng(1)) == before
    assert collection.status().unpublished == 0
    assert collection.verify().consistent


@pytest.mark.usefixtures("clock")
def test_a_run_that_compacted_cleans_at_its_end(
    store: Store, collection: Collection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(compaction, "MOST_AMID_RUN", 3)
    monkeypatch.setattr(compaction, "RETENTION", NOW)
    collection.settle()
    full, running = collection.status().version, store.open("docs")
    assert _versions(collection) == full, "it has compacted nothing"
    running.tidy()
    assert _versions(collection) > full, "readers may read them"
    running.settle()
    assert _versions(collection) < 5


def test_files_that_make_a_large_one_are_enough(
    store: Store, collection: Collection, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(compaction, "FRAGMENT_ROWS", collection.status().chunks + 8)
    store.open("docs").tidy()
    assert _fragments(collection) > 8
    monkeypatch.setattr(compaction, "FRAGMENT_ROWS", collection.status().chunks)
    store.open("docs").tidy()
    assert _fragments(collection) == 1


def test_small_files_apart_from_each_other_are_left(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
):
    assert isinstance(collection, StoredCollection)
    generations = collection._generations
    its = generations.table(generations.current())
    monkeypatch.setattr(table, "FRAGMENT_ROWS", 6)
    its.compact()
    assert its.small_fragments() == []
    collection.replace([document_rows(np.random.default_rng(1), "e", chunks=2)])
    assert its.small_fragments() == []
    collection.replace([document_rows(np.random.default_rng(1), "f", chunks=6)])
    assert its.small_fragments() == []
    for name, chunks in (("g", 2), ("h", 3)):
        collection.replace([document_rows(np.random.default_rng(1), name, chunks=chunks)])
    assert its.small_fragments() == [2, 3]


def test_a_run_that_dies_before_it_publishes_what_it_compacted_loses_nothing(
    store: Store, collection: Collection, monkeypatch: pytest.MonkeyPatch
):
    before = found(collection, np.random.default_rng(1))
    monkeypatch.setattr(compaction, "MOST_AMID_RUN", 3)
    with monkeypatch.context() as dying:
        dying.setattr(Publisher, "publish", _die)
        with pytest.raises(MilvusUnreachable):
            store.open("docs").tidy()
    assert collection.status().unpublished > 0
    assert found(collection, np.random.default_rng(1)) == before
    collection.replace([document_rows(np.random.default_rng(2), "more")])
    assert collection.status().unpublished == 0
    assert collection.verify().consistent


@pytest.mark.usefixtures("clock")
def test_a_command_that_is_killed_once_it_compacted_loses_nothing(
    collection: Collection, settings: Settings, tmp_path: Path
):
    before, documents = found(collection, np.random.default_rng(1)), _documents(collection)
    assert _killed_compacting(settings, tmp_path / "killed", "compacted") == -signal.SIGKILL
    assert collection.status().unpublished > 0
    assert found(collection, np.random.default_rng(1)) == before
    assert collection.compact(NOW).fragments_before == 1, "the commit came through"
    assert found(collection, np.random.default_rng(1)) == before
    assert _documents(collection) == documents
    collection.settle()
    assert collection.verify().consistent


def _killed_compacting(settings: Settings, told: Path, point: str) -> int:
    """The exit status of `m3-ingest compact`, killed where its log reaches that point."""
    environment = {
        "M3_HOME": str(settings.home),
        "M3_TABLES": str(settings.tables),
        "DRILL_KILL": f"{point} 1 0 cli",
        "DRILL_KILLED": str(told),
        **({"M3_MILVUS_URI": settings.milvus_uri} if settings.milvus_uri else {}),
    }
    command = [sys.executable, "-m", "tests.drills.launcher", "compact", "docs"]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, check=False
    ).returncode


def test_files_that_others_change_all_the_time_are_left_alone_longer(
    store: Store, collection: Collection, monkeypatch: pytest.MonkeyPatch
):
    tried: list[int] = []
    monkeypatch.setattr(compaction, "MOST_AMID_RUN", 5)
    monkeypatch.setattr(table.Table, "compact", lambda self, **_: bool(tried.append(1)))
    running = store.open("docs")
    for _ in range(3):
        running.tidy()
    assert len(tried) == 2, "beyond 5 small files, beyond 10, and there are no 20"


@pytest.mark.usefixtures("clock")
def test_what_is_purged_is_in_no_file(
    settings: Settings,
    store: Store,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
):
    # A file that is large enough, and has lost little, is rewritten all the same.
    monkeypatch.setattr(table, "FRAGMENT_ROWS", 10)
    collection = store.create("docs", SPEC)
    secrets = [document_rows(rng, f"s{i}", word="SECRET-WORD", terms=5) for i in range(2)]
    vectors = [rows.embeddings[0] for rows in secrets]
    needles = {
        "text": b"SECRET-WORD",
        "codes": vectors[0].codes.tobytes(),
        "dense, deleted": vectors[0].dense.tobytes(),
        "dense, replaced": vectors[1].dense.tobytes(),
    }
    collection.replace([*secrets, *(document_rows(rng, f"k{i}", chunks=3) for i in range(30))])
    assert all(_files_with(needle, settings) for needle in needles.values())
    collection.delete([key("s0")])
    collection.replace([document_rows(rng, "s1", word="harmless")])
    collection.purge()
    assert {name: _files_with(needle, settings) for name, needle in needles.items()} == {
        name: [] for name in needles
    }
    assert collection.verify().consistent
    assert collection.status().documents == 31


@pytest.mark.usefixtures("clock")
def test_a_compaction_that_is_overtaken_leaves_no_file_that_purging_does_not_reach(
    settings: Settings,
    store: Store,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
):
    collection = store.create("docs", SPEC)
    for i in range(3):
        collection.replace([document_rows(rng, f"d{i}", word="SECRET-WORD")])

    class Overtaken:
        plan = Compaction.plan

        @staticmethod
        def commit(dataset: Any, rewrites: Any) -> Any:
            collection.delete([key("d1")])
            collection.replace([document_rows(rng, f"d{i}", word="harmless") for i in (0, 2)])
            return Compaction.commit(dataset, rewrites)

    assert isinstance(collection, StoredCollection)
    generations = collection._generations
    with monkeypatch.context() as patch:
        patch.setattr(table, "Compaction", Overtaken)
        assert not generations.table(generations.current()).compact(retries=0)
    assert _files_with(b"SECRET-WORD", settings)
    collection.purge()
    assert _files_with(b"SECRET-WORD", settings) == []
    assert collection.verify().consistent


def _die(_: Publisher) -> None:
    raise MilvusUnreachable("gone")


def _fragments(collection: Collection) -> int:
    assert isinstance(collection, StoredCollection)
    generations = collection._generations
    return generations.table(generations.current()).fragments()


def _versions(collection: Collection) -> int:
    assert isinstance(collection, StoredCollection)
    generations = collection._generations
    return len(generations.table(generations.current()).latest()._dataset.versions())


def _files_with(needle: bytes, settings: Settings) -> list[Path]:
    return [path for path in _files(settings) if needle in path.read_bytes()]


def _files(settings: Settings) -> Iterator[Path]:
    for folder in (Path(settings.tables_path), Engine.of(settings).directory):
        yield from (path for path in folder.rglob("*") if path.is_file())


def _documents(collection: Collection) -> list[tuple[str, list[str]]]:
    stored = [collection.document(each) for each in collection.keys("default", "default")]
    return sorted((one.key.id, [chunk.text for chunk in one.chunks]) for one in stored if one)
