"""Copies of published versions: whole or not there, checked, and never in need of a model."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from m3.errors import AlreadyExists, Corrupt, IndexMissing, InvalidInput, StorageFull
from m3.settings import Settings, load_settings
from m3.types import Codec
from scoring.fusion import Method, Weights
from store.contract import Collection, Store
from store.copying import Copied, Published
from store.index.index import Index
from store.memory import MemoryStore
from store.opening import backing_up_to, collections_at, copying_to, open_store
from store.registry import NOWHERE
from tests.buckets import s3_server
from tests.damage import flip_a_bit
from tests.disks import more_room, small_disk
from tests.store.examples import SPEC, chunks_of, document_rows, embedding, key, query

_numbers = itertools.count()


def silent(_: int) -> None:
    pass


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(21)


@pytest.fixture
def docs(store: Store, rng: np.random.Generator) -> Collection:
    """With rows that were replaced and deleted, so that its row ids have gaps."""
    collection = store.create("docs", dataclasses.replace(SPEC, stand_in=True))
    collection.replace(
        [
            document_rows(
                rng, f"d{i:02}", chunks=1 + i % 3, metadata={"year": i}, tenant=f"t{i % 2}"
            )
            for i in range(30)
        ]
    )
    collection.replace([document_rows(rng, "d00", word="new", tenant="t0")])
    collection.delete([key("d01", tenant="t1")])
    return collection


def copied(settings: Settings, new: str, on_rows: Any = silent) -> Copied:
    """`docs` once more, beside itself."""
    with copying_to(settings) as target:
        return target.write(_published(settings), new, on_rows)


def _published(settings: Settings) -> Published:
    return Published.of(collections_at(settings.tables_path), "docs")


def answers(collection: Collection, tenant: str = "t0") -> list[Any]:
    """What a search can tell of a collection, but for its row ids."""
    found = collection.candidates(
        query(np.random.default_rng(5)), legs=["dense", "sparse"], depth=40, tenant=tenant
    )
    chunks = {chunk.row: chunk for chunk in chunks_of(collection, found, tenant)}
    rows = zip(found.rows.chunks, found.rows.embeddings, strict=True)
    vectors = {chunk.row: own for chunk, own in rows}
    return [
        [
            (
                dataclasses.replace(chunks[row], row=0),
                vectors[row].dense.tobytes(),
                vectors[row].codes.tobytes(),
            )
            for row in ids
        ]
        for ids in found.legs.values()
    ]


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_copy_answers_as_its_original_and_is_a_collection_of_its_own(
    store: Store, settings: Settings, docs: Collection, rng: np.random.Generator
):
    told: list[int] = []
    docs.save_weights({Method.FUSION: Weights(1, 2, 3)}, docs.spec)
    made = copied(settings, "again", told.append)
    again, status = store.open("again"), docs.status()
    assert again.weights(docs.spec) == {Method.FUSION: Weights(1, 2, 3)}
    assert (made.documents, made.chunks) == (29, status.chunks)
    assert made.bytes == again.status().bytes > 0
    assert sum(told) == 2 * made.chunks
    assert again.spec == docs.spec
    assert answers(again) == answers(docs)
    assert again.verify().consistent
    keys = docs.keys("t0", "default")
    assert again.originals(keys) == docs.originals(keys)
    assert again.content_hashes(keys) == docs.content_hashes(keys)
    again.replace([document_rows(rng, "d02", word="changed", tenant="t0")])
    store.drop("docs")
    assert again.verify().consistent
    assert again.status().documents == 29


def test_a_copy_is_one_commit_in_files_that_compacting_leaves(
    settings: Settings, docs: Collection, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("store.table.table.FRAGMENT_ROWS", 10)
    copied(settings, "again")
    generations = store.open("again")._generations  # pyright: ignore[reportAttributeAccessIssue]
    table = generations.table(generations.current())
    assert table.latest_number() == generations.current().published == 1
    assert table.fragments() == -(-docs.status().chunks // 10)


def test_what_is_not_published_is_not_copied(
    settings: Settings, docs: Collection, store: Store, rng: np.random.Generator
):
    generations = docs._generations  # pyright: ignore[reportAttributeAccessIssue]
    from store.table.rows import to_arrow

    late = document_rows(rng, "late")
    table = generations.table(generations.current())
    table.replace(to_arrow([late], docs.spec), [late.document.key.digest()])
    assert copied(settings, "again").documents == 29
    assert store.open("again").document(late.document.key) is None


def test_writers_go_on_meanwhile(
    settings: Settings,
    docs: Collection,
    store: Store,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
):
    before = answers(docs)
    monkeypatch.setattr("store.copying.BATCH_BYTES", 4_000)
    writes = itertools.count()

    def write(_: int) -> None:
        docs.replace([document_rows(rng, f"d{next(writes) % 8:02}", word="late", tenant="t0")])

    copied(settings, "again", write)
    assert next(writes) > 4
    assert answers(store.open("again")) == before != answers(docs)


def test_an_empty_collection_is_copied(settings: Settings, store: Store, rng: np.random.Generator):
    store.create("docs", SPEC)
    assert copied(settings, "again") == Copied("again", 0, 0, 0)
    again = store.open("again")
    again.replace([document_rows(rng, "a")])
    assert again.verify().consistent


@pytest.mark.parametrize("codec", list(Codec))
def test_every_codec_is_copied(
    settings: Settings, store: Store, rng: np.random.Generator, codec: Codec
):
    docs = store.create("docs", dataclasses.replace(SPEC, codec=codec))
    rows = document_rows(rng, "a", tenant="t0")
    docs.replace([dataclasses.replace(rows, embeddings=[embedding(rng, codec=codec)])])
    copied(settings, "again")
    assert answers(store.open("again")) == answers(docs)


def test_a_table_of_format_1_is_copied_as_it_is(
    settings: Settings, docs: Collection, store: Store, rng: np.random.Generator
):
    place = collections_at(settings.tables_path).place
    generations = docs._generations  # pyright: ignore[reportAttributeAccessIssue]
    table = lance.dataset(place.table_uri("docs", generations.current().table))
    table.drop_columns(["original", "markdown", "pages"])
    docs.replace([])
    generations.update(lambda g: dataclasses.replace(g, published=table.version))
    copied(settings, "again")
    again = store.open("again")
    assert answers(again) == answers(docs)
    with pytest.raises(InvalidInput, match="ingest it again"):
        again.originals([key("d02", tenant="t0")])
    again.replace([document_rows(rng, "d02", tenant="t0")])
    assert len(again.originals([key("d02", tenant="t0")])) == 1


@examples(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_history_is_copied_as_the_oracle_has_it(store: Store, settings: Settings, data: Any):
    """Writes and deletes at random, on a real store and in memory; then a copy of the real one."""
    oracle, name = MemoryStore().create("docs", SPEC), f"docs-{next(_numbers)}"
    real = store.create(name, SPEC)
    ids = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)
    for step in range(data.draw(st.integers(1, 5))):
        some, gone = data.draw(ids), data.draw(st.booleans())
        rows = [
            document_rows(np.random.default_rng([step, i]), id_, chunks=1 + i, tenant="t0")
            for i, id_ in enumerate(some)
        ]
        for collection in (oracle, real):
            if gone:
                collection.delete([each.document.key for each in rows])
            else:
                collection.replace(rows)
    with copying_to(settings) as target:
        published = Published.of(collections_at(settings.tables_path), name)
        made = target.write(published, f"{name}-again", silent)
    again = store.open(made.name)
    assert made.documents == oracle.status().documents
    assert made.chunks == oracle.status().chunks
    assert sorted(again.keys("t0", "default"), key=str) == sorted(
        oracle.keys("t0", "default"), key=str
    )
    for each in oracle.keys("t0", "default"):
        there, expected = again.document(each), oracle.document(each)
        assert there is not None
        assert expected is not None
        assert [c.text for c in there.chunks] == [c.text for c in expected.chunks]


def test_a_damaged_row_is_not_copied(
    settings: Settings, docs: Collection, store: Store, rng: np.random.Generator
):
    rows = document_rows(rng, "bad one", tenant="t1", source="web")
    docs.replace([rows])
    (table,) = Path(settings.tables_path).glob("docs/*.lance")
    flip_a_bit(table, rows.embeddings[0].codes.tobytes())
    with pytest.raises(Corrupt, match=r"document 'bad one' of source 'web' and tenant 't1'"):
        copied(settings, "again")
    assert store.names() == ["docs"]
    assert files(Path(settings.tables_path) / "again") == []


def test_names_that_are_taken_or_not_allowed(settings: Settings, docs: Collection):
    with pytest.raises(AlreadyExists, match="'docs' exists already"):
        copied(settings, "docs")
    with pytest.raises(InvalidInput):
        copied(settings, "../docs")
    assert docs.verify().consistent


def test_a_name_that_is_taken_meanwhile_stays_what_it_is(
    settings: Settings, docs: Collection, store: Store
):
    def take(_: int) -> None:
        if "again" not in store.names():
            store.create("again", SPEC)

    with pytest.raises(AlreadyExists):
        copied(settings, "again", take)
    again = store.open("again")
    assert again.status().documents == 0
    assert again.verify().consistent
    assert len(list((Path(settings.tables_path) / "again").glob("*.lance"))) == 1


@pytest.mark.parametrize("after", [1, 30, 80])
def test_what_is_interrupted_leaves_nothing(
    settings: Settings,
    docs: Collection,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
):
    """While rows are copied, and while they are indexed."""
    monkeypatch.setattr("store.copying.BATCH_BYTES", 4_000)
    told: list[int] = []
    indexes: list[Index] = []
    create = Index.create

    def remembered(index: Index) -> None:
        create(index)
        indexes.append(index)

    monkeypatch.setattr(Index, "create", remembered)

    def interrupt(rows: int) -> None:
        told.append(rows)
        if sum(told) > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copied(settings, "again", interrupt)
    assert store.names() == ["docs"]
    assert files(Path(settings.tables_path) / "again") == []
    with copying_to(settings) as target:
        assert target.milvus is not None
        assert not any(Index(target.milvus, each.name, SPEC).exists() for each in indexes)
    copied(settings, "again")
    assert answers(store.open("again")) == answers(docs)


_KILLED = """
import os, sys
from m3.settings import load_settings
from store.copying import Published
from store.opening import collections_at, copying_to
settings = load_settings(home=sys.argv[1], tables=sys.argv[2])
told = 0
def on_rows(rows):
    global told
    told += rows
    if told > int(sys.argv[3]):
        os._exit(9)
with copying_to(settings) as target:
    target.write(Published.of(collections_at(settings.tables_path), "docs"), "again", on_rows)
"""


@pytest.mark.parametrize("after", [0, 57, 100])
def test_a_killed_copy_leaves_no_record_and_a_rerun_works(
    settings: Settings, docs: Collection, store: Store, after: int
):
    """Before the table's commit, and before and after its index is made."""
    command = [sys.executable, "-c", _KILLED, str(settings.home), settings.tables_path, str(after)]
    assert subprocess.run(command, env=os.environ, check=False).returncode == 9
    assert store.names() == ["docs"]
    copied(settings, "again")
    assert answers(store.open("again")) == answers(docs)
    assert store.open("again").verify().consistent


def test_a_full_disk_ends_a_copy_and_a_rerun_completes(
    settings: Settings, docs: Collection, store: Store, rng: np.random.Generator, tmp_path: Path
):
    docs.replace([document_rows(rng, f"long{i}", chunks=300) for i in range(10)])
    with small_disk(tmp_path / "small", "256k") as disk:
        target = backing_up_to(str(disk))
        with pytest.raises(StorageFull, match="free some room"):
            target.write(_published(settings), "docs", silent)
        assert target.registry.names() == []
        assert files(disk) == []
        more_room(disk)
        assert target.write(_published(settings), "docs", silent).chunks == docs.status().chunks


class TestBackups:
    """A backup is a place of tables, whose collections have no index yet."""

    @pytest.fixture
    def backup(self, settings: Settings, docs: Collection, tmp_path: Path) -> Settings:
        del docs
        told: list[int] = []
        target = backing_up_to(str(tmp_path / "backup"))
        made = target.write(_published(settings), "docs", told.append)
        assert sum(told) == made.chunks
        return load_settings(home=settings.home, tables=str(tmp_path / "backup"))

    def test_it_asks_nothing_of_milvus(
        self, docs: Collection, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def refused(*_: Any) -> Any:
            raise AssertionError("Milvus was called")

        monkeypatch.setattr("store.index.milvus.Milvus.call", refused)
        made = backing_up_to(str(tmp_path)).write(_published(settings), "docs", silent)
        assert made.documents == 29

    def test_it_is_restored_under_its_name_and_another(
        self, store: Store, docs: Collection, settings: Settings, backup: Settings
    ):
        before = answers(docs)
        store.drop("docs")
        with copying_to(settings) as target:
            for name in ("docs", "other"):
                target.write(Published.of(collections_at(backup.tables_path), "docs"), name, silent)
        for name in ("docs", "other"):
            assert answers(store.open(name)) == before
            assert store.open(name).verify().consistent

    def test_it_serves_where_it_lies_once_its_index_is_built(
        self, docs: Collection, backup: Settings
    ):
        there = open_store(backup)
        try:
            collection = there.open("docs")
            with pytest.raises(IndexMissing, match=r"not built yet.*verify docs --repair"):
                answers(collection)
            done = collection.verify(repair=True)
            assert (done.missing, done.consistent) == (docs.status().chunks, True)
            assert answers(collection) == answers(docs)
        finally:
            there.drop("docs")
            there.close()

    def test_its_record_says_that_there_is_no_index(self, backup: Settings):
        record = Path(backup.tables_path) / "docs/collection.json"
        assert orjson.loads(record.read_bytes())["generations"]["1"]["engine"] == NOWHERE


class TestOnS3:
    """From a bucket into a bucket, and back."""

    @pytest.fixture
    def s3(self) -> Iterator[Any]:
        with s3_server() as client:
            client.create_bucket(Bucket="tables")
            yield client

    @pytest.fixture
    def settings(self, s3: Any, engine_home: Path) -> Settings:
        del s3
        return load_settings(home=engine_home, tables=f"s3://tables/{next(_numbers)}")

    def test_both_ends_in_buckets(self, store: Store, settings: Settings, docs: Collection):
        before = answers(docs)
        backup = backing_up_to("s3://tables/backups/1")
        backup.write(_published(settings), "docs", silent)
        assert collections_at("s3://tables/backups/1").names() == ["docs"]
        store.drop("docs")
        with copying_to(settings) as target:
            target.write(Published.of(backup.registry, "docs"), "docs", silent)
        assert answers(store.open("docs")) == before

    def test_what_breaks_off_leaves_no_object(
        self, store: Store, settings: Settings, docs: Collection, s3: Any
    ):
        def interrupt(_: int) -> None:
            raise KeyboardInterrupt

        backup = backing_up_to("s3://tables/broken")
        with pytest.raises(KeyboardInterrupt):
            backup.write(_published(settings), "docs", interrupt)
        assert backup.registry.names() == []
        assert s3.list_objects_v2(Bucket="tables", Prefix="broken/")["KeyCount"] == 0
