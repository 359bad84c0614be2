"""Reading test collections, and what a folder that is not one gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.judged.beir import load
from m3.errors import InvalidInput
from m3.types import Document


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": "One", "text": "first"}\n'
        "\n"
        '{"_id": "d2", "text": "second", "title": null, "url": "x"}\n'
        '{"_id": "d3", "title": "Only a title", "text": " "}\n'
        '{"_id": "d4", "title": "", "text": ""}\n'
    )
    (folder / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "what?"}\n{"_id": "q2", "text": "not judged"}\n'
    )
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\n")
    return folder


def test_a_collection_is_what_its_files_say(folder: Path) -> None:
    collection = load(folder)
    assert collection.name == "small"
    assert collection.queries == {"q1": "what?"}
    assert collection.qrels == {"q1": {"d1": 1, "d2": 0}}
    parsed = list(collection.documents())
    lines = collection.corpus.read_bytes().splitlines(keepends=True)
    assert [item.place.line for item in parsed] == [1, 3, 4]
    assert [item.size for item in parsed] == [len(lines[0]), len(lines[2]), len(lines[3])]
    assert [item.document for item in parsed] == [
        Document("d1", "first", "One"),
        Document("d2", "second"),
        Document("d3", "Only a title"),
    ]


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InvalidInput, match=f"{name} is missing"):
        load(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere/corpus\.jsonl is missing"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"_id": "q3", "text": ', ":3: invalid JSON"),
        ('["q3"]', ":3: expected an object"),
        ('{"text": "x"}', ":3: expected a string under '_id'"),
        ('{"_id": "q3"}', ":3: expected a string under 'text'"),
        ('{"_id": "q1", "text": "again"}', ":3: _id 'q1' is there twice"),
    ],
)
def test_a_bad_line_is_named(folder: Path, line: str, reason: str) -> None:
    with (folder / "queries.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(InvalidInput, match=reason):
        load(folder)


@pytest.mark.parametrize("line", ["q1 d1 1", "q1\td1\tyes", "q1\td1"])
def test_a_bad_judgment_is_named(folder: Path, line: str) -> None:
    with (folder / "qrels/test.tsv").open("a") as file:
        file.write(line)
    with pytest.raises(InvalidInput, match=r"test.tsv:4: expected"):
        load(folder)


def test_judgments_need_queries(folder: Path) -> None:
    with (folder / "qrels/test.tsv").open("a") as file:
        file.write("q9\td1\t1\n")
    with pytest.raises(InvalidInput, match="judges query 'q9'"):
        load(folder)


def test_no_judgments_at_all(folder: Path) -> None:
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(InvalidInput, match="no judgment"):
        load(folder)


def test_the_real_collections_have_their_counts(data: Path) -> None:
    for name, documents, queries in (("cranfield", 1398, 225), ("xquad-en", 240, 1190)):
        collection = load(data / name)
        assert len(list(collection.documents())) == documents
        assert len(collection.queries) == queries
