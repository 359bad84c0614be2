"""A copy that is refused, interrupted, killed or without room leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from m3.errors import AlreadyExists, Corrupt, InvalidInput, StorageFull
from m3.settings import Settings
from store.contract import Collection, Store
from store.index.index import Index
from store.opening import backing_up_to, copying_to
from tests.damage import flip_a_bit
from tests.disks import more_room, small_disk
from tests.store.copying.copies import answers, copied, files, published, silent
from tests.store.examples import SPEC, document_rows


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
    monkeypatch.setattr("store.table.version.READ_BYTES", 4_000)
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
            target.write(published(settings), "docs", silent)
        assert target.registry.names() == []
        assert files(disk) == []
        more_room(disk)
        assert target.write(published(settings), "docs", silent).chunks == docs.status().chunks
