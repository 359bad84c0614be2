"""What ends a write, and what is not written in the first place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from m3.errors import (
    AlreadyExists,
    InvalidConfiguration,
    InvalidInput,
    NotFound,
    StorageFull,
    StoredDataError,
)
from store.bulk import writing
from store.bulk.files import Folder
from tests.store.bulk.loads import no_jobs, uncounted, uncounted_loosely
from tests.store.examples import SPEC


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, StorageFull("full")])
def test_an_interrupted_write_leaves_no_manifest_and_is_written_anew(
    filled, tmp_path, monkeypatch, stopped
):
    files, put = tmp_path / "files", Folder.put
    monkeypatch.setattr(writing, "FILE_BYTES", 1)

    def second(self: Folder, name: str, draft: Path) -> int:
        if name.startswith("000001"):
            raise stopped
        return put(self, name, draft)

    monkeypatch.setattr(Folder, "put", second)
    with pytest.raises((KeyboardInterrupt, StorageFull)):
        filled.bulk("docs").write(str(files), uncounted_loosely)
    assert [path.name for path in files.iterdir()] == ["000000.parquet"]
    with pytest.raises(NotFound, match="no manifest"):
        filled.bulk("docs").load([str(files)], ["at"], no_jobs(), uncounted)
    monkeypatch.setattr(Folder, "put", put)
    assert filled.bulk("docs").write(str(files), uncounted).rows == 12


def test_a_full_disk_is_one_plain_error(filled, tmp_path, monkeypatch, capfd):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(StorageFull, match="No space left on device"):
        filled.bulk("docs").write(str(tmp_path / "files"), uncounted_loosely)
    assert "Traceback" not in capfd.readouterr().err


def test_a_row_that_milvus_does_not_take_is_named(filled, tmp_path, monkeypatch):
    records = writing.records

    def wrong(*given: Any) -> Iterator[dict[str, Any]]:
        for record in records(*given):
            yield record | {"f_year": "next"}

    monkeypatch.setattr(writing, "records", wrong)
    with pytest.raises(StoredDataError, match=r"row \d+ is none that Milvus takes.*f_year"):
        filled.bulk("docs").write(str(tmp_path / "files"), uncounted_loosely)


def test_a_folder_of_a_bulk_load_is_not_written_over(filled, tmp_path):
    filled.bulk("docs").write(str(tmp_path / "files"), uncounted)
    with pytest.raises(AlreadyExists, match="name another"):
        filled.bulk("docs").write(str(tmp_path / "files"), uncounted)


def test_nothing_is_written_where_an_import_could_not_follow(filled, client, tmp_path):
    for rows in client.collections.values():
        rows.add(7)
    with pytest.raises(AlreadyExists, match=r"1 rows already.*verify docs --repair"):
        filled.bulk("docs").write(str(tmp_path / "files"), uncounted)
    filled.create("empty", SPEC)
    with pytest.raises(InvalidInput, match="no rows"):
        filled.bulk("empty").write(str(tmp_path / "files"), uncounted)


def test_other_addresses_are_refused(filled):
    with pytest.raises(InvalidConfiguration, match="a folder, or s3://"):
        filled.bulk("docs").write("gs://bucket/x", uncounted)
