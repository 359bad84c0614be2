"""Files of another state or place, and servers that fail, are not published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from m3.errors import (
    AlreadyExists,
    InvalidConfiguration,
    InvalidInput,
    M3Error,
    MilvusRefused,
    MilvusUnreachable,
    StoredDataError,
)
from m3.settings import Settings, load_settings
from store.bulk.jobs import ImportJobs
from store.opening import StoredStore
from tests.store.bulk.loads import commit, no_jobs, uncounted, uncounted_loosely
from tests.store.examples import SPEC, document_rows


@pytest.fixture
def written(filled: StoredStore, tmp_path: Path) -> str:
    address = tmp_path / "storage" / "docs"
    filled.bulk("docs").write(str(address), uncounted)
    return str(address)


def refused(
    store: StoredStore, kind: type[M3Error], match: str, written: str, jobs: ImportJobs
) -> None:
    """And nothing is published."""
    before = store.open("docs").status().version
    with pytest.raises(kind, match=match):
        store.bulk("docs").load([written], ["docs"], jobs, uncounted_loosely)
    assert store.open("docs").status().version == before


def test_files_of_a_table_that_went_on_are_refused(filled, written, jobs, fake, rng):
    commit(filled, "docs", document_rows(rng, "later"))
    refused(filled, InvalidInput, "has been written to since", written, jobs)
    assert not fake.asked


def test_files_of_a_compacted_table_are_not(filled, written, jobs):
    generations = filled.open("docs")._generations
    assert generations.table(generations.current()).compact()
    assert filled.bulk("docs").load([written], ["docs"], jobs, uncounted).rows == 12
    assert filled.open("docs").verify().consistent


def test_an_index_with_rows_is_refused(filled, written, jobs, fake, client):
    for rows in client.collections.values():
        rows.add(7)
    refused(filled, AlreadyExists, "1 rows already.*verify docs --repair", written, jobs)
    assert not fake.asked


def test_files_of_another_collection_are_refused(filled, written, jobs, fake):
    filled.create("other", SPEC)
    with pytest.raises(InvalidInput, match="not of collection 'other'"):
        filled.bulk("other").load([written], ["docs"], jobs, uncounted_loosely)
    assert not fake.asked


def test_a_job_under_way_is_not_started_again(filled, written, jobs, fake):
    fake.underway = ["77"]
    refused(filled, AlreadyExists, "job 77 is under way", written, jobs)
    assert [call for call, _ in fake.asked] == ["list"]


def test_a_failed_job_says_why(filled, written, jobs, fake):
    fake.states, fake.reason = ["Importing", "Failed"], "the file does not exist"
    refused(filled, MilvusRefused, "job 400 failed: the file does not exist", written, jobs)


def test_an_import_that_lost_a_row_is_not_published(filled, written, jobs, fake):
    ids = pq.read_table(Path(written) / "000000.parquet")["row"].to_pylist()
    fake.lost = {ids[3]}
    refused(filled, StoredDataError, "lacks 1 rows and has 0 too many", written, jobs)
    assert filled.open("docs").verify(repair=True).consistent
    assert filled.open("docs").status().unpublished == 0


def test_a_token_that_the_server_does_not_know(filled, written, fake):
    wrong = ImportJobs(fake.url, token="root:wrong", timeout=60)
    refused(filled, MilvusRefused, "hasn't authenticated", written, wrong)


def test_a_server_that_does_not_answer(filled, written):
    refused(filled, MilvusUnreachable, "does not answer at", written, no_jobs())


def test_a_server_that_is_away_for_a_moment_is_asked_again(filled, written, jobs, monkeypatch):
    asked, away = jobs.job, iter([True, True])

    def flaky(id: str) -> Any:
        if next(away, False):
            raise MilvusUnreachable("away")
        return asked(id)

    monkeypatch.setattr(jobs, "job", flaky)
    assert filled.bulk("docs").load([written], ["docs"], jobs, uncounted).rows == 12


def test_a_folder_says_not_where_milvus_finds_it(filled, written, jobs):
    with pytest.raises(InvalidInput, match="--at PREFIX"):
        filled.bulk("docs").load([written], [], jobs, uncounted)


def test_the_server_s_settings(tmp_path):
    def settings_of(**values: str) -> Settings:
        return load_settings(home=tmp_path, **values)

    with pytest.raises(InvalidInput, match=r"embedded Milvus has no import.*verify docs --repair"):
        ImportJobs.of(settings_of(), "docs")
    with pytest.raises(InvalidConfiguration, match="http"):
        ImportJobs.of(settings_of(milvus_uri="tcp://milvus:19530"), "docs")


def test_address_database_and_token_are_those_of_the_settings(filled, written, fake, tmp_path):
    fake.token = "user:secret"
    jobs = ImportJobs.of(
        load_settings(home=tmp_path, milvus_uri=f"{fake.url}/mine", milvus_token="user:secret"),
        "docs",
    )
    assert filled.bulk("docs").load([written], ["docs"], jobs, uncounted).rows == 12
    assert {body["dbName"] for call, body in fake.asked if call == "create"} == {"mine"}
