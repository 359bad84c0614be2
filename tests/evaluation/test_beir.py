"""Reading test collections, and what a folder that is not one gets."""

from __future__ import annotations

import gzip
from collections.abc import Callable
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


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q1 d1 1", "expected query id, document id and a whole number, with tabs between"),
        ("q1\td1\tyes", "expected"),
        ("q1\td1\t0.5", "expected"),
        ("q1\td1", "expected"),
        ("q1\t0\td1\t1", ".*leave out the second column of TREC's form"),
        ("q1\td1\t2", "query 'q1' judges 'd1' twice, 2 and 1"),
    ],
)
def test_a_bad_judgment_is_named(folder: Path, line: str, reason: str) -> None:
    with (folder / "qrels/test.tsv").open("a") as file:
        file.write(line)
    with pytest.raises(InvalidInput, match=f"test.tsv:4: {reason}"):
        load(folder)


def test_a_first_line_that_is_neither_header_nor_judgment_is_named(folder: Path) -> None:
    for line in ("q1 d1 1", "q1\td1\t0.5", "query-id\t0\tcorpus-id\tscore"):
        (folder / "qrels/test.tsv").write_text(f"{line}\nq1\td1\t1\n")
        with pytest.raises(InvalidInput, match=r"test.tsv:1: expected"):
            load(folder)


def test_a_file_that_is_no_text_is_named(folder: Path) -> None:
    (folder / "qrels/test.tsv").write_bytes(b"q1\td1\t1\nq1\t\xff\t1\n")
    with pytest.raises(InvalidInput, match=r"test.tsv:2 is not text in UTF-8"):
        load(folder)


def test_judgments_need_queries(folder: Path) -> None:
    with (folder / "qrels/test.tsv").open("a") as file:
        file.writelines(f"q{i}\td1\t1\n" for i in range(3, 10))
    with pytest.raises(
        InvalidInput, match=r"judges 7 queries \('q3', .*, …\) not in queries.jsonl"
    ):
        load(folder)


def test_a_judged_query_has_a_text(folder: Path) -> None:
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": " "}\n')
    with pytest.raises(InvalidInput, match=r"queries.jsonl: judged but empty: 1 query \('q1'\)"):
        load(folder)


def test_documents_that_are_judged_and_not_there_are_told(folder: Path) -> None:
    assert load(folder).unknown() == []
    (folder / "qrels/test.tsv").write_text("q1\td1\t1\nq1\tgone\t0\n")
    assert load(folder).unknown() == ["gone"]


def test_other_splits_are_named(folder: Path) -> None:
    judged = folder / "qrels/test.tsv"
    (folder / "qrels/dev.tsv").write_text(judged.read_text().replace("d1", "d3"))
    assert load(folder).qrels == {"q1": {"d1": 1, "d2": 0}}
    assert load(folder, "dev").qrels == {"q1": {"d3": 1, "d2": 0}}
    judged.rename(judged.with_name("train.tsv"))
    with pytest.raises(InvalidInput, match=r"test.tsv is missing; .* of: dev, train \(--split\)"):
        load(folder)


def plain(text: str) -> bytes:
    return text.encode()


def of_windows(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("utf-8-sig")


@pytest.mark.parametrize("written", [plain, of_windows])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("header", ["", "query-id\tcorpus-id\tscore\n"])
def test_collections_as_others_write_them(
    tmp_path: Path, written: Callable[[str], bytes], packed: bool, header: str
) -> None:
    """Numbers as ids, ids of any letters and length, no titles, judgments twice or below 0."""
    long = "ü" * 90
    files = {
        "corpus.jsonl": f'{{"_id": 7, "text": "first"}}\n{{"_id": "{long}", "text": "second"}}\n',
        "queries.jsonl": '{"_id": 1, "text": "what?"}\n{"_id": "文書", "text": "which?"}\n',
        "qrels/test.tsv": f"{header}1\t7\t1\n1\t7\t1\n1\t{long}\t-1\n文書\t{long}\t2\n",
    }
    (tmp_path / "qrels").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_bytes(written(text))
        if packed and name.endswith("jsonl"):
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(written(text)))
            (tmp_path / name).unlink()
    collection = load(tmp_path)
    assert collection.queries == {"1": "what?", "文書": "which?"}
    assert collection.qrels == {"1": {"7": 1, long: -1}, "文書": {long: 2}}
    documents = [item.document for item in collection.documents()]
    assert documents == [Document("7", "first"), Document(long, "second")]
    assert collection.unknown() == []
    assert (collection.size is None) == packed


def test_no_judgments_at_all(folder: Path) -> None:
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    with pytest.raises(InvalidInput, match="no judgment"):
        load(folder)


def test_the_real_collections_have_their_counts(data: Path) -> None:
    for name, documents, queries in (("cranfield", 1398, 225), ("xquad-en", 240, 1190)):
        collection = load(data / name)
        assert len(list(collection.documents())) == documents
        assert len(collection.queries) == queries
