"""Backups, and copies from a bucket into a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from m3.errors import IndexMissing
from m3.settings import Settings, load_settings
from store.contract import Collection, Store
from store.copying import Published
from store.opening import backing_up_to, collections_at, copying_to, open_store
from store.registry import NOWHERE
from tests.buckets import s3_server
from tests.store.copying.copies import answers, numbers, published, silent


class TestBackups:
    """A backup is a place of tables, whose collections have no index yet."""

    @pytest.fixture
    def backup(self, settings: Settings, docs: Collection, tmp_path: Path) -> Settings:
        del docs
        told: list[int] = []
        target = backing_up_to(str(tmp_path / "backup"))
        made = target.write(published(settings), "docs", told.append)
        assert sum(told) == made.chunks
        return load_settings(home=settings.home, tables=str(tmp_path / "backup"))

    def test_it_asks_nothing_of_milvus(
        self, docs: Collection, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def refused(*_: Any) -> Any:
            raise AssertionError("Milvus was called")

        monkeypatch.setattr("store.index.milvus.Milvus.call", refused)
        made = backing_up_to(str(tmp_path)).write(published(settings), "docs", silent)
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
        return load_settings(home=engine_home, tables=f"s3://tables/{next(numbers)}")

    def test_both_ends_in_buckets(self, store: Store, settings: Settings, docs: Collection):
        before = answers(docs)
        backup = backing_up_to("s3://tables/backups/1")
        backup.write(published(settings), "docs", silent)
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
            backup.write(published(settings), "docs", interrupt)
        assert backup.registry.names() == []
        assert s3.list_objects_v2(Bucket="tables", Prefix="broken/")["KeyCount"] == 0
