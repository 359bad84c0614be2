"""Two embedded Milvus over one tables place: the index is in one of them, and the other knows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from m3.errors import IndexMissing
from m3.settings import Settings, load_settings
from store.contract import Collection, Store
from store.index.engine import Engine
from store.index.milvus import Milvus
from store.opening import open_store
from tests.store.examples import SPEC, chunks_of, document_rows, key, query

_ELSEWHERE = r"'docs' is in another Milvus .*verify docs --repair"


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Iterator[Store]:
    """A store of the same tables in another state directory."""
    store = open_store(load_settings(home=tmp_path / "home", tables=settings.tables_path))
    yield store
    store.close()
    Engine.of(load_settings(home=tmp_path / "home")).stop()


@pytest.fixture
def here(store: Store) -> Collection:
    rng = np.random.default_rng(31)
    collection = store.create("docs", SPEC)
    collection.replace([document_rows(rng, f"d{i}", chunks=2) for i in range(8)])
    return collection


def found(collection: Collection) -> list[str]:
    asked = query(np.random.default_rng(32))
    answer = collection.candidates(asked, legs=["dense"], depth=40, tenant="default")
    names = {chunk.row: f"{chunk.id} {chunk.text}" for chunk in chunks_of(collection, answer)}
    return [names[row] for row in answer.legs["dense"]]


def commits(collection: Any) -> int:
    generations = collection._generations
    return generations.table(generations.current()).latest_number()


def record(settings: Settings) -> Path:
    return Path(settings.tables_path) / "docs/collection.json"


@pytest.mark.parametrize(
    "asked",
    [
        found,
        lambda there: there.replace([document_rows(np.random.default_rng(1), "new")]),
        lambda there: there.delete([key("d1")]),
        lambda there: there.content_hashes([key("d1")]),
        lambda there: there.verify(),
    ],
    ids=["search", "replace", "delete", "content_hashes", "verify"],
)
def test_searches_and_writes_are_refused_elsewhere(here: Collection, elsewhere: Store, asked: Any):
    before, expected = commits(here), found(here)
    with pytest.raises(IndexMissing, match=_ELSEWHERE):
        asked(elsewhere.open("docs"))
    assert commits(here) == before
    assert elsewhere.open("docs").status().documents == 8
    assert found(here) == expected


def test_repair_moves_the_index_and_the_other_side_gives_it_up(
    store: Store, here: Collection, elsewhere: Store
):
    expected, there = found(here), elsewhere.open("docs")
    done = there.verify(repair=True)
    assert (done.missing, done.stale, done.consistent) == (16, 0, True)
    assert found(there) == expected
    for reader in (here, store.open("docs")):
        with pytest.raises(IndexMissing, match=_ELSEWHERE):
            found(reader)
    rng = np.random.default_rng(33)
    there.replace([document_rows(rng, "d1", word="changed"), document_rows(rng, "new")])
    there.delete([key("d2")])
    back = here.verify(repair=True)
    assert (back.missing, back.consistent) == (2, True)
    assert found(here) == found(store.open("docs"))
    assert "default/new#0 text-0" in found(here)
    assert here.verify().consistent
    with pytest.raises(IndexMissing, match=_ELSEWHERE):
        found(there)


def test_searches_go_on_while_the_index_is_moved(
    here: Collection, elsewhere: Store, monkeypatch: pytest.MonkeyPatch
):
    """Until it is whole elsewhere, the record says that it is here."""
    expected, there, seen = found(here), elsewhere.open("docs"), []
    from store.generations import verification

    write = verification.write_rows

    def watched(*arguments: Any) -> None:
        monkeypatch.setattr(verification, "write_rows", write)
        seen.append(found(here))
        write(*arguments)
        seen.append(found(here))

    monkeypatch.setattr(verification, "write_rows", watched)
    there.verify(repair=True)
    assert seen == [expected, expected]


def test_a_lost_state_directory_is_another_engine(
    store: Store, elsewhere: Store, tmp_path: Path, settings: Settings
):
    del store
    home = tmp_path / "home"
    lost = elsewhere.create("docs", SPEC)
    lost.replace([document_rows(np.random.default_rng(34), "a")])
    expected = found(lost)
    elsewhere.close()
    Engine.of(load_settings(home=home)).stop()
    shutil.rmtree(home)
    again = open_store(load_settings(home=home, tables=settings.tables_path))
    collection = again.open("docs")
    with pytest.raises(IndexMissing, match=_ELSEWHERE):
        found(collection)
    assert collection.verify(repair=True).consistent
    assert found(collection) == expected
    again.drop("docs")
    again.close()


def test_a_record_from_before_is_trusted_until_it_is_repaired(
    here: Collection, settings: Settings, store: Store
):
    body = orjson.loads(record(settings).read_bytes())
    del body["generations"]["1"]["engine"]
    record(settings).write_bytes(orjson.dumps(body))
    assert len(found(store.open("docs"))) == 16
    here.replace([document_rows(np.random.default_rng(35), "new")])
    assert orjson.loads(record(settings).read_bytes())["generations"]["1"]["engine"] is None
    assert here.verify(repair=True).consistent
    engine = orjson.loads(record(settings).read_bytes())["generations"]["1"]["engine"]
    assert engine == Milvus.of(settings).identity


def test_a_generation_that_does_not_serve_is_rebuilt(
    store: Store, here: Collection, elsewhere: Store
):
    number = store.begin("docs", SPEC)
    there = elsewhere.open("docs", number)
    with pytest.raises(IndexMissing, match=f"generation {number} .*--discard {number}`, and reb"):
        there.replace([document_rows(np.random.default_rng(36), "a")])
    assert here.status().documents == 8


def test_an_engine_has_one_identity_whoever_asks_first(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path; from store.index.engine import Engine\n"
        "print(Engine(Path(sys.argv[1]), 1.0).identity())"
    )
    asking = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    answers = {process.communicate(timeout=120)[0] for process in asking}
    assert len(answers) == 1
    assert len(answers.pop().strip()) == 32
    assert Engine(tmp_path / "other", 1.0).identity() != Engine(tmp_path, 1.0).identity()


def test_servers_are_not_told_apart(tmp_path: Path):
    one, two = (
        Milvus.of(load_settings(home=tmp_path, milvus_uri=uri)).identity
        for uri in ("http://one:19530", "http://two:19530")
    )
    assert one == two != Milvus.of(load_settings(home=tmp_path)).identity
