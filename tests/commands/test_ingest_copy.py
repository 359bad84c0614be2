"""`m3-ingest copy`, `backup` and `restore` as commands: what they print, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from m3.settings import load_settings
from store.index.engine import Engine
from store.opening import open_store
from tests.commands.shell import Shell
from tests.store.examples import SPEC, document_rows


@pytest.fixture
def shell(home: Path, tmp_path: Path) -> Shell:
    """With the collections `docs` and `more`."""
    return filled(home, tmp_path / "tables")


@pytest.fixture(scope="module")
def refusing(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The same, for commands that change nothing."""
    return filled(home, tmp_path_factory.mktemp("refusing"))


def filled(home: Path, tables: Path) -> Shell:
    store = open_store(load_settings(home=home, tables=str(tables)))
    for name in ("docs", "more"):
        rng = np.random.default_rng(41)
        store.create(name, SPEC).replace([document_rows(rng, f"d{i}") for i in range(5)])
    store.close()
    return Shell(home, M3_TABLES=str(tables))


def test_a_copy_is_told_in_a_line_or_in_json(shell: Shell):
    assert shell.said("copy", "docs", "--as", "one").startswith("one: 5 documents, 5 chunks, ")
    told = json.loads(shell.said("copy", "docs", "--as", "two", "--json"))
    assert list(told) == ["name", "documents", "chunks", "bytes", "seconds"]
    assert (told["name"], told["chunks"]) == ("two", 5)
    assert shell.status("one")["documents"] == shell.status("two")["documents"] == 5


def test_tables_go_elsewhere_and_the_index_stays(shell: Shell, tmp_path: Path):
    shell.said("copy", "docs", "--to", tmp_path / "there")
    there = {"M3_TABLES": str(tmp_path / "there")}
    assert shell.status("docs", **there)["documents"] == 5
    assert "has 0 too many" in shell.said("verify", "docs", **there)


def test_a_state_directory_gets_tables_and_index_whatever_the_environment_says(
    shell: Shell, tmp_path: Path
):
    home = tmp_path / "other"
    try:
        shell.said("copy", "docs", "--to-home", home)
        assert (home / "tables/docs/collection.json").is_file()
        there = {"M3_HOME": str(home), "M3_TABLES": str(home / "tables")}
        assert "has 0 too many" in shell.said("verify", "docs", **there)
    finally:
        Engine.of(load_settings(home=home)).stop()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["copy", "docs"], "--as NEW, or where it goes, --to PLACE"),
        (["copy", "docs", "--as", "docs"], "--as NEW, or where it goes, --to PLACE"),
        (
            ["copy", "docs", "--to-milvus", "http://m:19530"],
            "`M3_MILVUS_URI=http://m:19530 m3-ingest verify docs --repair` moves it there",
        ),
        (["copy", "docs", "--as", "more"], "'more' is there already: give the copy another name"),
        (["copy", "docs", "--as", "a/b"], "a/b"),
        (["copy", "docs", "--to", "ftp://host/x"], "a folder, or s3://bucket/prefix"),
        (["copy", "nothing", "--as", "x"], "no collection 'nothing'; there are: docs, more"),
        (["backup", "--to", "{tmp}/b"], "name the collections, or say --all"),
        (["backup", "docs", "--all", "--to", "{tmp}/b"], "name the collections, or say --all"),
        (["backup", "docs", "nothing", "--to", "{tmp}/b"], "no collection 'nothing'"),
        (["restore", "docs", "--from", "{tmp}/nowhere"], "there is no folder {tmp}/nowhere"),
        (["restore", "--all", "--from", "{tmp}/empty"], "there is no collection"),
    ],
)
def test_refusals_say_what_to_do(refusing: Shell, tmp_path: Path, arguments: list[str], says: str):
    (tmp_path / "empty").mkdir()
    said = refusing.said(*(a.replace("{tmp}", str(tmp_path)) for a in arguments), expect=2)
    assert says.replace("{tmp}", str(tmp_path)) in said
    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "b" / "docs").exists()
    assert refusing.status("more")["documents"] == 5


def test_collections_go_out_together_and_come_back(shell: Shell, tmp_path: Path):
    saved = json.loads(shell.said("backup", "--all", "--to", tmp_path / "b", "--json"))
    assert [each["name"] for each in saved] == ["docs", "more"]
    again = shell.said("backup", "docs", "more", "--to", tmp_path / "b", expect=2)
    assert again.startswith("'docs', 'more' is there already: name a place for each backup")
    taken = shell.said("restore", "--all", "--from", tmp_path / "b", expect=2)
    assert "say --as NEW, or take it out first, m3-ingest drop NAME" in taken
    renamed = shell.said("restore", "--all", "--from", tmp_path / "b", "--as", "x", expect=2)
    assert "--as renames one collection" in renamed
    shell.said("drop", "docs", "--yes")
    shell.said("drop", "more", "--yes")
    lines = shell.said("restore", "--all", "--from", tmp_path / "b").splitlines()
    assert [line.split(",")[0] for line in lines] == ["docs: 5 documents", "more: 5 documents"]
    shell.said("restore", "docs", "--from", tmp_path / "b", "--as", "docs-before")
    assert shell.status("docs-before")["documents"] == shell.status("more")["documents"] == 5


def test_a_taken_name_stops_all_before_any_is_copied(shell: Shell, tmp_path: Path):
    shell.said("backup", "more", "--to", tmp_path / "b")
    shell.said("backup", "--all", "--to", tmp_path / "b", expect=2)
    assert not (tmp_path / "b/docs/collection.json").exists()
