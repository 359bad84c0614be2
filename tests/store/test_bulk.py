"""Bulk loads: files that equal the table, checks that notice, imports by a server's REST API."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3.errors import (
    AlreadyExists,
    Corrupt,
    InvalidConfiguration,
    InvalidInput,
    M3Error,
    MilvusRefused,
    MilvusUnreachable,
    NotFound,
    StorageFull,
    StoredDataError,
)
from m3.settings import Settings, load_settings
from m3.types import Codec
from store.bulk import load as bulk_load
from store.bulk import loading, writing
from store.bulk.files import Folder
from store.bulk.jobs import ImportJobs
from store.generations import publication
from store.index.milvus import Milvus, ServerPlace
from store.opening import StoredStore, open_store
from store.places.folder import FolderPlace
from store.registry import Registry
from store.table.rows import to_arrow
from tests.buckets import s3_server
from tests.store.examples import SPEC, document_rows, embedding, key, query
from tests.store.fake_milvus import FakeClient, FakeServer, serving


@contextmanager
def uncounted(what: str, total: int) -> Iterator[Callable[[int], None]]:
    seen: list[int] = []
    yield seen.append
    assert sum(seen) == total, what


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def server_store(client: FakeClient, tmp_path: Path) -> Iterator[StoredStore]:
    """Real tables beside a server that is not real."""
    store = store_over(client, tmp_path / "tables")
    yield store
    store.close()


def store_over(client: FakeClient, tables: Path, **more: Any) -> StoredStore:
    milvus = Milvus(ServerPlace("http://127.0.0.1:1"))
    milvus._client = client
    return StoredStore(Registry(FolderPlace(tables)), milvus, **more)


@pytest.fixture
def fake(client: FakeClient, tmp_path: Path) -> Iterator[FakeServer]:
    with serving(FakeServer(client, tmp_path / "storage")) as fake:
        yield fake


@pytest.fixture
def jobs(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> ImportJobs:
    monkeypatch.setattr(loading, "_POLL_SECONDS", 0.01)
    return ImportJobs(fake.url, token=fake.token, timeout=10)


def commit(store: StoredStore, name: str, *documents: Any) -> None:
    """A commit that nobody has published."""
    generations = store.open(name)._generations
    generation = generations.current()
    generations.table(generation).replace(
        to_arrow(documents, generation.spec), [each.document.key.digest() for each in documents]
    )


@pytest.fixture
def filled(server_store: StoredStore, rng: np.random.Generator) -> StoredStore:
    """`docs`, of 12 rows in three commits, none published."""
    server_store.create("docs", SPEC)
    for i in range(3):
        metadata = {"lang": "de", "year": i, "price": 1.5, "open": True, "tags": ["x", ""]}
        commit(server_store, "docs", document_rows(rng, f"d{i}", chunks=4, metadata=metadata))
    return server_store


# What is written


_METADATA = st.fixed_dictionaries(
    {},
    optional={
        "lang": st.text(max_size=20) | st.none(),
        "year": st.integers(-(2**63), 2**63 - 1),
        "price": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
        "open": st.booleans(),
        "tags": st.lists(st.text(max_size=5), max_size=4),
        "other": st.text(max_size=5),
    },
)


@given(
    codec=st.sampled_from(list(Codec)),
    documents=st.lists(
        st.tuples(_METADATA, st.integers(1, 3), st.integers(0, 5), st.text(min_size=1, max_size=9)),
        min_size=1,
        max_size=5,
    ),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=30, deadline=None)
def test_files_equal_the_documents(tmp_path_factory, codec, documents, seed):
    tmp_path = tmp_path_factory.mktemp("bulk")
    store, rng = store_over(FakeClient(), tmp_path / "tables"), np.random.default_rng(seed)
    store.create("docs", dataclasses.replace(SPEC, codec=codec))
    written = [
        dataclasses.replace(
            document_rows(rng, f"d{i}", metadata=metadata, chunks=chunks, tenant=tenant),
            embeddings=[embedding(rng, codec=codec, terms=terms) for _ in range(chunks)],
        )
        for i, (metadata, chunks, terms, tenant) in enumerate(documents)
    ]
    commit(store, "docs", *written)
    manifest = store.bulk("docs").write(str(tmp_path / "files"), uncounted)
    table = store.open("docs")._generations
    latest = table.table(table.current()).latest()
    names = {
        row["_rowid"]: (row["document_id"], row["position"])
        for rows in latest.scan(["document_id", "position"])
        for row in rows.to_pylist()
    }
    found = {
        names.pop(row["row"]): row
        for file in manifest.files
        for row in pq.read_table(tmp_path / "files" / file.name).to_pylist()
    }
    assert not names
    for rows in written:
        for chunk, expected in zip(rows.chunks, rows.embeddings, strict=True):
            row = found[rows.document.id, chunk.position]
            assert_equal(row, rows.document, expected)
    store.close()
    shutil.rmtree(tmp_path)


def assert_equal(row: dict[str, Any], document: Any, expected: Any) -> None:
    """A row of a file, field by field, as the server's documentation has them."""
    assert bytes(row["dense"]) == expected.dense.astype(np.float16).tobytes()
    terms = dict(zip(expected.sparse_ids, expected.sparse_weights, strict=True))
    sparse = {int(term): np.float32(weight) for term, weight in json.loads(row["sparse"]).items()}
    assert sparse == (terms or {0: np.float32(1e-6)})
    assert row["tenant"] == document.tenant
    nothing = {"lang": "", "year": 0, "price": 0.0, "open": False, "tags": []}
    for name, default in nothing.items():
        value = document.metadata.get(name)
        assert row[f"has_{name}"] == (value is not None)
        assert row[f"f_{name}"] == (default if value is None else value)


def test_a_large_table_is_several_files(filled, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FILE_BYTES", 1)
    manifest = filled.bulk("docs").write(str(tmp_path / "files"), uncounted)
    assert [file.rows for file in manifest.files] == [4, 4, 4]
    assert {path.name for path in (tmp_path / "files").iterdir()} == {
        "manifest.json",
        *(file.name for file in manifest.files),
    }
    assert manifest.bytes == sum(
        (tmp_path / "files" / f.name).stat().st_size for f in manifest.files
    )


def test_parts_have_every_row_once(filled, tmp_path):
    parts = [
        filled.bulk("docs").write(str(tmp_path / str(i)), uncounted, part=i, parts=2)
        for i in range(2)
    ]
    ids = [
        row
        for i, part in enumerate(parts)
        for file in part.files
        for row in pq.read_table(tmp_path / str(i) / file.name)["row"].to_pylist()
    ]
    assert len(ids) == len(set(ids)) == 12
    assert [part.rows for part in parts] == [8, 4]


def insert_twice(store: StoredStore, rng: np.random.Generator) -> str:
    """As two writers do that insert one document at the same time; where the table is."""
    generations = store.create("docs", SPEC)._generations
    commit(store, "docs", document_rows(rng, "other", word="other"))
    table = generations.table(generations.current())
    base = lance.dataset(table.uri)
    for word in ("first", "second"):
        rows = to_arrow([document_rows(rng, "same", word=word, chunks=2)], SPEC)
        operation = lance.LanceOperation.Append(lance.fragment.write_fragments(rows, table.uri))
        lance.LanceDataset.commit(table.uri, operation, read_version=base.version)
    return table.uri


def texts(uri: str) -> list[str]:
    return sorted(row["text"] for row in lance.dataset(uri).to_table().to_pylist())


def test_of_two_inserts_of_a_document_the_last_is_written(server_store, rng, tmp_path):
    table = insert_twice(server_store, rng)
    assert server_store.bulk("docs").write(str(tmp_path / "files"), uncounted).rows == 3
    assert texts(table) == ["other-0", "second-0", "second-1"]


def test_of_two_among_many_new_rows_the_last_is_published(server_store, rng, monkeypatch):
    table = insert_twice(server_store, rng)
    monkeypatch.setattr(publication, "_MANY_ROWS", 2)
    assert server_store.open("docs").verify(repair=True).consistent
    assert texts(table) == ["other-0", "second-0", "second-1"]


def test_a_part_may_be_empty(server_store, fake, jobs, rng, tmp_path):
    server_store.create("docs", SPEC)
    commit(server_store, "docs", document_rows(rng, "a", chunks=3))
    at = [str(tmp_path / "storage" / str(i)) for i in range(2)]
    rows = [
        server_store.bulk("docs").write(address, uncounted, part=i, parts=2).rows
        for i, address in enumerate(at)
    ]
    assert rows == [3, 0]
    assert server_store.bulk("docs").load(at, ["0", "1"], jobs, uncounted).rows == 3


# Reading back


def changed(**columns: Callable[[Any], Any]) -> Callable[[Path], None]:
    """One value of a row in the middle is made another, the file as sound as before."""

    def change(path: Path) -> None:
        table = pq.read_table(path)
        rows = table.to_pylist()
        for name, make in columns.items():
            rows[5][name] = make(rows[5][name])
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)

    return change


def rewritten(make: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    return lambda path: pq.write_table(make(pq.read_table(path)), path)


def flipped(path: Path) -> None:
    """A byte of the first page of values."""
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF
    path.write_bytes(data)


def first_weight(text: str, make: Callable[[float], float]) -> str:
    terms = json.loads(text)
    term = next(iter(terms))
    return json.dumps(terms | {term: make(terms[term])})


DAMAGES = {
    "a flipped byte of the file": flipped,
    "no bytes": lambda path: path.write_bytes(b""),
    "half a file": lambda path: path.write_bytes(path.read_bytes()[:2_000]),
    "no file": Path.unlink,
    "a flipped bit of a vector": changed(dense=lambda dense: [dense[0] ^ 1, *dense[1:]]),
    "a vector too short": changed(dense=lambda dense: dense[:-1]),
    "a weight": changed(sparse=lambda text: first_weight(text, lambda w: w * (1 + 2e-7))),
    "a term missing": changed(
        sparse=lambda text: json.dumps(dict([*json.loads(text).items()][1:]))
    ),
    "a term for none": changed(sparse=lambda _: "{}"),
    "a tenant": changed(tenant=lambda _: "another"),
    "a string": changed(f_lang=lambda _: "en"),
    "an integer": changed(f_year=lambda year: year + 1),
    "a number": changed(f_price=lambda _: 1.5000000000000002),
    "a boolean": changed(f_open=lambda _: False),
    "strings": changed(f_tags=lambda _: ["", "x"]),
    "a presence": changed(has_lang=lambda _: False),
    "an id": changed(row=lambda row: row + 1_000),
    "a missing row": rewritten(lambda table: pa.concat_tables([table[:5], table[6:]])),
    "the last row missing": rewritten(lambda table: table[:-1]),
    "a row twice": rewritten(lambda table: pa.concat_tables([table[:5], table[4:]])),
    "a row more": rewritten(lambda table: pa.concat_tables([table, table[:1]])),
    "a column missing": rewritten(lambda table: table.drop_columns("f_year")),
    "another type": rewritten(
        lambda table: table.set_column(0, "row", table["row"].cast(pa.uint64()))
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_differs_is_noticed(filled, tmp_path, monkeypatch, damage):
    files = tmp_path / "files"

    def write(*arguments: Any) -> Any:
        written = writing.write_files(*arguments)
        damage(files / written[0].name)
        return written

    monkeypatch.setattr(bulk_load, "write_files", write)
    with pytest.raises(Corrupt, match=r"000000\.parquet|lack") as raised:
        filled.bulk("docs").write(str(files), uncounted_loosely)
    assert raised.value.exit_code == 4
    assert not (files / "manifest.json").exists()


@contextmanager
def uncounted_loosely(what: str, total: int) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


def test_a_whole_file_that_is_missing_is_noticed(filled, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "FILE_BYTES", 1)
    monkeypatch.setattr(bulk_load, "write_files", lambda *given: writing.write_files(*given)[:-1])
    with pytest.raises(Corrupt, match="lack 4 rows"):
        filled.bulk("docs").write(str(tmp_path / "files"), uncounted_loosely)


# What goes wrong while writing


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


def no_jobs() -> ImportJobs:
    return ImportJobs("http://127.0.0.1:1", timeout=0.1)


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


# Importing


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
    generations.update(lambda g: dataclasses.replace(g, engine="another"))
    fake.client.collections.clear()
    files = tmp_path / "storage" / "docs"
    filled.bulk("docs").write(str(files), uncounted)
    assert filled.bulk("docs").load([str(files)], ["docs"], jobs, uncounted).rows == 12
    assert generations.current().engine == generations.engine
    assert filled.open("docs").verify().consistent


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
    wrong = ImportJobs(fake.url, token="root:wrong", timeout=10)
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


# Runs that leave the index alone


def test_runs_that_defer_do_not_call_milvus(tmp_path, rng):
    made = store_over(FakeClient(), tmp_path)
    made.create("docs", SPEC)
    made.close()
    nobody: Any = object()
    collection = store_over(nobody, tmp_path, publisher=publication.Deferred).open("docs")
    rows = document_rows(rng, "a")
    collection.replace([rows, document_rows(rng, "b")])
    collection.delete([key("b")])
    collection.settle()
    assert collection.content_hashes([key("a"), key("b")]) == {key("a"): rows.content_hash}
    assert collection.status().unpublished == 2


def test_deferred_writes_are_seen_once_they_are_published(settings: Settings, store, rng):
    deferred = open_store(settings, defer_index=True)
    try:
        collection = deferred.create("docs", SPEC)
        readers = store.open("docs")
        before = readers.status().version
        rows = [document_rows(rng, f"d{i}", chunks=2) for i in range(3)]
        for each in rows:
            collection.replace([each])
        assert collection.delete([key("d2")]) == 1
        collection.settle()
        assert collection.content_hashes([key("d0"), key("d2")]) == {
            key("d0"): rows[0].content_hash
        }
        assert sorted(each.id for each in collection.keys("default", "default")) == ["d0", "d1"]
        found = readers.candidates(query(rng), legs=["dense"], depth=9, tenant="default")
        assert len(found.rows.chunks) == 0
        assert readers.document(key("d0")) is None
        assert readers.status().version == before
        assert readers.status().unpublished > 0
    finally:
        deferred.close()
    assert readers.verify(repair=True).consistent
    found = readers.candidates(query(rng), legs=["dense"], depth=9, tenant="default")
    assert len(found.rows.chunks) == 4
    assert readers.status().unpublished == 0
