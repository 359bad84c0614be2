from __future__ import annotations

import errno
import threading
from dataclasses import replace

import orjson
import pytest

from m3.errors import Corrupt, InvalidConfiguration, NewerFormat, StorageFull
from m3.settings import load_settings
from store.opening import open_store
from store.places.folder import FolderPlace
from store.registry import FORMAT, Generation, Registry, new_generation
from store.reports import Defaults
from tests.store.examples import SPEC


@pytest.fixture
def registry(tmp_path):
    registry = Registry(FolderPlace(tmp_path))
    registry.create("docs", replace(new_generation("docs", SPEC), published=1, swept=1))
    return registry


def test_a_record_comes_back(registry):
    generation = registry.read("docs").generation
    assert generation.spec == SPEC
    assert (generation.published, generation.swept, generation.recent) == (1, 1, ())


def test_a_record_from_before_there_were_depths_is_read(registry, tmp_path):
    path = tmp_path / "docs/collection.json"
    body = orjson.loads(path.read_bytes())
    del body["rerank_depths"]
    path.write_bytes(orjson.dumps(body))
    assert registry.read("docs").defaults(SPEC.fingerprint) == Defaults()


def test_a_newer_format_is_refused(registry, tmp_path):
    path = tmp_path / "docs/collection.json"
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"format": FORMAT + 1}))
    with pytest.raises(NewerFormat, match="upgrade"):
        registry.read("docs")


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b'{"format": 1, "name": "docs"}'])
def test_a_record_that_cannot_be_read_is_refused(registry, tmp_path, data):
    (tmp_path / "docs/collection.json").write_bytes(data)
    with pytest.raises(Corrupt, match="docs"):
        registry.read("docs")


def test_updates_of_many_writers_are_all_kept(registry):
    def publish_many():
        for _ in range(50):
            registry.update("docs", lambda r: r.with_generation(_next(r.generation)))

    threads = [threading.Thread(target=publish_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.read("docs").generation.published == 201


def _next(generation: Generation) -> Generation:
    return generation.publish(generation.published + 1, at=0.0)


def test_the_published_version_never_goes_backwards(registry):
    generation = registry.read("docs").generation.publish(7, at=1.0)
    assert generation.publish(5, at=2.0) is generation


def test_a_full_disk_keeps_the_record(registry, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("store.places.folder.os.fsync", full)
    with pytest.raises(StorageFull, match="No space left"):
        registry.update("docs", lambda r: r.with_generation(_next(r.generation)))
    assert registry.read("docs").generation.published == 1
    assert {p.name for p in (tmp_path / "docs").iterdir()} == {"collection.json", "collection.lock"}


def test_places_that_cannot_hold_tables(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfiguration, match="M3_HOME"):
        open_store(load_settings(home=tmp_path / "file"))
    with pytest.raises(InvalidConfiguration, match="s3://bucket"):
        open_store(load_settings(home=tmp_path, tables="ftp://host/tables"))


def test_a_folder_that_takes_no_lock_is_told_plainly(tmp_path):
    (tmp_path / "docs").write_text("in the way")
    with pytest.raises(StorageFull, match=r"cannot write .*docs"):
        FolderPlace(tmp_path).swap("docs", None, b"{}")
