"""An import by the REST API of a server publishes what was written, once."""

from __future__ import annotations

import dataclasses

import pyarrow.parquet as pq
import pytest

from m3.errors import (
    InvalidInput,
)
from store.bulk import loading, writing
from tests.buckets import s3_server
from tests.store.bulk.loads import uncounted, uncounted_loosely


def test_an_import_publishes_what_was_written(filled, fake, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FILE_BYTES", 1)
    monkeypatch.setattr(loading, "MOST_FILES", 2)
    files = tmp_path / "storage" / "at" / "docs"
    manifest = filled.bulk("docs").write(str(files), uncounted)
    assert filled.open("docs").status().unpublished == 3
    loaded = filled.bulk("docs").load([str(files)], ["/at/docs/"], jobs, uncounted)
    assert (loaded.rows, loaded.version, loaded.jobs) == (12, manifest.version, ["400", "401"])
    (index,) = fake.client.collections
    created = [body for call, body in fake.asked if call == "create"]
    assert [body["collectionName"] for body in created] == [index, index]
    assert [body["files"] for body in created] == [
        [["at/docs/000000.parquet"], ["at/docs/000001.parquet"]],
        [["at/docs/000002.parquet"]],
    ]
    status = filled.open("docs").status()
    assert (status.version, status.unpublished, status.chunks) == (manifest.version, 0, 12)
    assert fake.client.upserted == 0
    assert filled.open("docs").verify().consistent


def test_what_was_imported_already_is_published_without_another_job(
    filled, fake, jobs, client, tmp_path
):
    """As after an interrupt: the job went on in the server."""
    files = tmp_path / "storage" / "docs"
    manifest = filled.bulk("docs").write(str(files), uncounted)
    for rows in client.collections.values():
        rows |= set(pq.read_table(files / "000000.parquet")["row"].to_pylist())
    loaded = filled.bulk("docs").load([str(files)], ["docs"], jobs, uncounted_loosely)
    assert loaded.jobs == []
    assert not fake.asked
    assert filled.open("docs").status().version == manifest.version


def test_all_parts_are_imported_together(filled, fake, jobs, tmp_path):
    at = [str(tmp_path / "storage" / str(i)) for i in range(2)]
    for i, address in enumerate(at):
        filled.bulk("docs").write(address, uncounted, part=i, parts=2)
    with pytest.raises(InvalidInput, match="all 2 parts, each once; these are 1"):
        filled.bulk("docs").load(at[1:], ["1"], jobs, uncounted_loosely)
    with pytest.raises(InvalidInput, match="as often as"):
        filled.bulk("docs").load(at, ["1"], jobs, uncounted_loosely)
    assert filled.bulk("docs").load(at, ["0", "1"], jobs, uncounted).rows == 12


def test_an_import_moves_an_index_to_another_milvus(filled, fake, jobs, tmp_path):
    """As from the embedded one to a server, where nothing of it is yet."""
    generations = filled.open("docs")._generations
    generations.update(generations.current(), lambda g: dataclasses.replace(g, engine="another"))
    fake.client.collections.clear()
    files = tmp_path / "storage" / "docs"
    filled.bulk("docs").write(str(files), uncounted)
    assert filled.bulk("docs").load([str(files)], ["docs"], jobs, uncounted).rows == 12
    assert generations.current().engine == generations.engine
    assert filled.open("docs").verify().consistent


def test_files_go_to_a_bucket_and_are_read_back_from_it(filled, fake, jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FILE_BYTES", 1)
    with s3_server() as s3:
        s3.create_bucket(Bucket="milvus")
        s3.put_object(
            Bucket="milvus", Key="bulk/docs/000001.parquet", Body=b"of an interrupted one"
        )
        filled.bulk("docs").write("s3://milvus/bulk/docs/", uncounted)
        listed = s3.list_objects_v2(Bucket="milvus")["Contents"]
        for each in listed:
            path = tmp_path / "storage" / each["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file("milvus", each["Key"], str(path))
        assert len(listed) == 4
        loaded = filled.bulk("docs").load(["s3://milvus/bulk/docs"], [], jobs, uncounted)
    assert loaded.rows == 12
    assert fake.jobs["400"][1][0] == "bulk/docs/000000.parquet"
