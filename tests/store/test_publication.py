"""The protocol between table, index and readers, on the real engine."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import lance
import numpy as np
import pytest

from m3.errors import IndexMissing, Overtaken, StoredDataError
from store.collection import StoredCollection
from store.contract import Collection, Store
from store.generations.publication import READER_SECONDS
from store.index.index import Index
from store.table.rows import corrupt, to_arrow
from tests.damage import flip_a_bit
from tests.pace import Clock
from tests.store.examples import SPEC, chunks_of, document_rows, key, query

BOTH = ("dense", "sparse")


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def collection(store: Store) -> Collection:
    return store.create("docs", SPEC)


def commit_without_publishing(collection: StoredCollection, rows) -> None:
    """What a writer leaves that is killed right after its commit."""
    generations = collection._generations
    table = generations.table(generations.current())
    table.replace(to_arrow([rows], SPEC), [rows.document.key.digest()])


def committed(collection: StoredCollection) -> list[float]:
    """When each version of the table was (Unix time)."""
    generations = collection._generations
    versions = lance.dataset(generations.table(generations.current()).uri).versions()
    return [each["timestamp"].timestamp() for each in versions]


def found_texts(collection, rng, depth=100):
    answer = collection.candidates(query(rng), legs=BOTH, depth=depth, tenant="default")
    return sorted(chunk.text for chunk in chunks_of(collection, answer))


def test_an_unpublished_commit_is_not_seen_until_the_next_writer_comes(
    collection, rng, monkeypatch
):
    collection.replace([document_rows(rng, "a", word="old")])
    commit_without_publishing(collection, document_rows(rng, "a", word="new", chunks=2))
    commit_without_publishing(collection, document_rows(rng, "c", word="newest"))
    older, newer = committed(collection)[-2:]
    clock = Clock()
    clock.now = newer + 30
    with monkeypatch.context() as patch:
        patch.setattr("store.collection.time", clock)
        waiting = collection.status()
    assert waiting.unpublished == 2
    assert waiting.lag_seconds == pytest.approx(clock.now - older, abs=1e-5), "of the older one"
    assert found_texts(collection, rng) == ["old-0"]
    assert [c.text for c in collection.document(key("a")).chunks] == ["old-0"]
    collection.replace([document_rows(rng, "b", word="other")])
    assert found_texts(collection, rng) == ["new-0", "new-1", "newest-0", "other-0"]
    published = collection.status()
    assert (published.unpublished, published.lag_seconds) == (0, 0.0)
    assert published.published_at > waiting.published_at


def test_an_unpublished_commit_counts_as_stored(collection, rng):
    """A rerun after a crash finds the document there, publishes it, and embeds nothing."""
    rows = document_rows(rng, "a")
    commit_without_publishing(collection, rows)
    assert collection.content_hashes([key("a")]) == {key("a"): rows.content_hash}
    assert found_texts(collection, rng) == ["text-0"]


def test_rows_in_the_index_that_no_version_has_fall_away(collection, rng):
    """A writer killed between upsert and publication, overtaken by another."""
    collection.replace([document_rows(rng, "a", word="kept", chunks=3)])
    generation = collection._generations.current()
    index = collection._generations.index(generation)
    rows = to_arrow([document_rows(rng, f"ghost{i}") for i in range(50)], SPEC)
    ids = list(range(10_000, 10_050))
    index.upsert(rows.append_column("_rowid", [ids]))
    assert found_texts(collection, rng, depth=3) == ["kept-0", "kept-1", "kept-2"]
    verification = collection.verify()
    assert (verification.missing, verification.stale) == (0, 50)
    assert not verification.consistent
    assert collection.verify(repair=True).consistent
    assert collection.verify().stale == 0


@pytest.mark.usefixtures("clock")
def test_two_writers_that_insert_one_document_end_as_one(collection, rng):
    """Lance lets both commits stand; publication keeps the last."""
    generations = collection._generations
    table = generations.table(generations.current())
    writers = [document_rows(rng, "same", word=f"w{i}", chunks=i + 1) for i in range(3)]
    barrier = threading.Barrier(3)

    def write(rows):
        arrow = to_arrow([rows], SPEC)
        barrier.wait()
        table.replace(arrow, [rows.document.key.digest()])

    threads = [threading.Thread(target=write, args=(rows,)) for rows in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    collection._publisher.publish()
    texts = [chunk.text for chunk in collection.document(key("same")).chunks]
    assert texts in [[chunk.text for chunk in rows.chunks] for rows in writers]
    assert found_texts(collection, rng) == sorted(texts)
    collection.settle()
    assert collection.verify().consistent


def test_overtaken_writes_are_dropped(collection, rng):
    """Deterministically: two inserts of one document based on one version."""
    generations = collection._generations
    table = generations.table(generations.current())
    base = lance.dataset(table.uri)
    for word in ("first", "second"):
        rows = to_arrow([document_rows(rng, "same", word=word)], SPEC)
        transaction = lance.fragment.write_fragments(rows, table.uri)
        operation = lance.LanceOperation.Append(transaction)
        lance.LanceDataset.commit(table.uri, operation, read_version=base.version)
    collection._publisher.publish()
    assert [c.text for c in collection.document(key("same")).chunks] == ["second-0"]


def test_what_was_replaced_is_swept_after_the_readers(collection, rng, clock):
    collection.replace([document_rows(rng, "a", chunks=4)])
    collection.replace([document_rows(rng, "a", chunks=1)])
    index: Index = collection._generations.index(collection._generations.current())
    clock.sleep(READER_SECONDS - 0.25)
    collection._publisher.sweep()
    assert len(index.row_ids()) == 5, "a reader of the version before still finds all of it"
    assert collection.verify().consistent, "waiting to be swept is not stale"
    collection.settle()
    assert len(index.row_ids()) == 1
    assert collection.verify().consistent


def test_rows_that_came_and_went_between_sweeps_are_swept(collection, rng, clock):
    for chunks in (4, 3, 2, 1):
        collection.replace([document_rows(rng, "a", chunks=chunks)])
    collection.settle()
    index: Index = collection._generations.index(collection._generations.current())
    assert len(index.row_ids()) == 1


@pytest.mark.usefixtures("clock")
def test_a_reader_that_began_before_a_publication_misses_nothing(collection, rng, monkeypatch):
    """Between its pin and its search the document is replaced: it sees the version before."""
    collection.replace([document_rows(rng, "a", word="old", chunks=3)])
    search = Index.search

    def replaced_meanwhile(self, *args, **kwargs):
        monkeypatch.setattr(Index, "search", search)
        collection.replace([document_rows(rng, "a", word="new", chunks=2)])
        return search(self, *args, **kwargs)

    monkeypatch.setattr(Index, "search", replaced_meanwhile)
    assert found_texts(collection, rng, depth=3) == ["old-0", "old-1", "old-2"]
    assert found_texts(collection, rng) == ["new-0", "new-1"]


@pytest.mark.usefixtures("clock")
def test_a_slow_reader_starts_over(collection, rng, monkeypatch):
    """It was overtaken by a publication and its sweep: what it found is not trusted."""
    collection.replace([document_rows(rng, "a", word="old", chunks=3)])
    search = Index.search

    def swept_meanwhile(self, *args, **kwargs):
        monkeypatch.setattr(Index, "search", search)
        collection.replace([document_rows(rng, "a", word="new", chunks=2)])
        collection.settle()
        return search(self, *args, **kwargs)

    monkeypatch.setattr(Index, "search", swept_meanwhile)
    assert found_texts(collection, rng) == ["new-0", "new-1"]


@pytest.mark.usefixtures("clock")
def test_a_slow_reader_whose_version_was_purged_starts_over(collection, rng, monkeypatch):
    """What it found in the index is in no file any more."""
    collection.replace([document_rows(rng, "a", word="old", chunks=3)])
    search = Index.search

    def purged_meanwhile(self, *args, **kwargs):
        found = search(self, *args, **kwargs)
        monkeypatch.setattr(Index, "search", search)
        collection.replace([document_rows(rng, "a", word="new", chunks=2)])
        collection.purge()
        return found

    monkeypatch.setattr(Index, "search", purged_meanwhile)
    answer = collection.candidates(query(rng), legs=["dense"], depth=9, tenant="default")
    assert sorted(chunk.text for chunk in chunks_of(collection, answer)) == ["new-0", "new-1"]


def test_a_reader_that_is_overtaken_every_time_says_so(collection, rng, monkeypatch):
    monkeypatch.setattr("store.reading.reader.READER_SECONDS", 0.0)
    collection.replace([document_rows(rng, "a")])
    search = Index.search

    def written_meanwhile(self, *args, **kwargs):
        collection.replace([document_rows(rng, "a")])
        return search(self, *args, **kwargs)

    monkeypatch.setattr(Index, "search", written_meanwhile)
    with pytest.raises(Overtaken, match="less busy"):
        found_texts(collection, rng)


def test_a_lost_index_is_rebuilt_from_the_table(collection, rng):
    collection.replace([document_rows(rng, f"d{i}", chunks=3) for i in range(20)])
    before = found_texts(collection, rng)
    collection._generations.index(collection._generations.current()).drop()
    with pytest.raises(IndexMissing, match="--repair"):
        found_texts(collection, rng)
    verification = collection.verify(repair=True)
    assert (verification.missing, verification.repaired) == (60, True)
    assert found_texts(collection, rng) == before


def test_flipped_bits_are_found(collection, rng):
    collection.replace([document_rows(rng, f"d{i}", chunks=3) for i in range(5)])
    table = collection._generations.table(collection._generations.current())
    codes = document_rows(np.random.default_rng(11), "d0", chunks=3).embeddings[1].codes.tobytes()
    flip_a_bit(Path(table.uri), codes)
    verification = collection.verify()
    assert len(verification.corrupt) == 1
    assert not verification.consistent


def test_writers_go_on_while_checksums_are_read(store, collection, rng, monkeypatch):
    """What was published when they began may be purged meanwhile: then they begin again."""
    collection.replace([document_rows(rng, "a", word="old")])
    reads = 0

    def corrupt_after_a_write(rows, spec):
        nonlocal reads
        reads += 1
        if reads > 1:
            return corrupt(rows, spec)
        writer = threading.Thread(
            target=store.open("docs").replace, args=([document_rows(rng, "a", word="new")],)
        )
        writer.start()
        writer.join(30)
        assert not writer.is_alive(), "it waits for the lock"
        raise StoredDataError("gone")

    monkeypatch.setattr("store.generations.verification.corrupt", corrupt_after_a_write)
    assert collection.verify().consistent
    assert reads == 2
    assert found_texts(collection, rng) == ["new-0"]


def test_a_table_that_cannot_be_read_is_told(collection, rng, monkeypatch):
    collection.replace([document_rows(rng, "a")])

    def unreadable(rows, spec):
        raise StoredDataError("gone")

    monkeypatch.setattr("store.generations.verification.corrupt", unreadable)
    with pytest.raises(StoredDataError, match="gone"):
        collection.verify()


def test_whole_rows_are_read_by_their_size(collection, rng, monkeypatch):
    collection.replace([document_rows(rng, f"d{i}", chunks=3) for i in range(5)])
    monkeypatch.setattr("store.table.version.READ_BYTES", 1)
    sizes: list[int] = []
    monkeypatch.setattr(
        "store.generations.verification.corrupt", lambda rows, _: sizes.append(len(rows)) or []
    )
    assert collection.verify().consistent
    assert sizes == [1] * 15
    assert [len(rows.chunks) for rows in collection.scan("default", "default")] == [1] * 15


READER = """
import sys, time, collections
from pathlib import Path
from m3.errors import Overtaken
from m3.settings import load_settings
from store.opening import open_store
from tests.store.examples import chunks_of, key, query
import numpy as np
home, tables, enough = sys.argv[1:]
store = open_store(load_settings(home=Path(home), tables=tables))
collection = store.open("docs")
rng = np.random.default_rng(5)
seen, print_ = collections.Counter(), print
print_("ready", flush=True)
for _ in range(100_000):
    document = collection.document(key("a"))
    assert document is not None, "nothing"
    texts = [chunk.text for chunk in document.chunks]
    words = {text.split("-")[0] for text in texts}
    assert len(words) == 1 and document.chunks[0].chunks == len(texts), texts
    try:
        found = collection.candidates(
            query(rng), legs=("dense", "sparse"), depth=50, tenant="default"
        )
    except Overtaken:
        # The machine is too busy for this search: nothing wrong was read.
        continue
    chunks = [each for each in chunks_of(collection, found) if each.document_id == "a"]
    texts = [chunk.text for chunk in chunks]
    words = {text.split("-")[0] for text in texts}
    expected = {chunk.chunks for chunk in chunks}
    assert len(words) == 1, ("mixed", texts)
    assert expected == {len(texts)}, ("partial", texts)
    seen[words.pop()] += 1
    if len(seen) > 20:
        Path(enough).touch()
    if "last" in seen:
        break
print_(len(seen), sum(seen.values()), flush=True)
"""


def test_a_reader_in_another_process_sees_one_whole_version_each_time(
    collection, rng, settings, tmp_path
):
    """2 → 5 → 1 chunks, 60 times and until enough of it was seen, by document and by search."""
    collection.replace(
        [document_rows(rng, "a", word="v0", chunks=2)]
        + [document_rows(rng, f"other{i}") for i in range(10)]
    )
    enough = tmp_path / "enough"
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, settings.home, settings.tables, enough],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert reader.stdout.readline() == "ready\n"
        written = 0
        while written < 60 or not enough.exists():
            written += 1
            word, chunks = f"v{written}", (2, 5, 1)[written % 3]
            collection.replace([document_rows(rng, "a", word=word, chunks=chunks)])
            assert reader.poll() is None, "it has seen something else"
        collection.replace([document_rows(rng, "a", word="last", chunks=5)])
        output, _ = reader.communicate(timeout=120)
    finally:
        reader.kill()
        reader.wait()
    assert reader.returncode == 0
    versions, polls = map(int, output.split())
    assert versions > 20
    assert polls >= versions
