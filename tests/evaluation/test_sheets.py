"""Sheets that people fill in, query logs, and judgments of either kind."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path

import pytest

from commands.search.analysing import write_sheet
from evaluation.judged import judgments, sheets
from evaluation.scores.raw import collect
from evaluation.unjudged import query_log
from m3.errors import InvalidInput
from m3.settings import load_settings
from m3.types import Codec
from search.service import SearchService
from tests.search.library import COLLECTION, KnownQueries, example, library, passages_of

QUERIES = {"q1": "first; or not", "q2": 'second, "quoted"'}


def written(path: Path) -> list[dict[str, str]]:
    known = {text: example(i, Codec.FP32) for i, text in enumerate(QUERIES.values())}
    service = SearchService(library(passages_of(30)), KnownQueries(known))
    passages = sheets.Passages()
    raw = asyncio.run(collect(service, QUERIES, COLLECTION, on_look=passages.see))
    lines = sheets.write(path, QUERIES, sheets.pool(raw, 3), passages)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == lines
    return rows


def filled(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_what_is_filled_in_comes_back(tmp_path: Path, delimiter: str) -> None:
    rows = written(tmp_path / "sheet.csv")
    assert {row["query_id"] for row in rows} == set(QUERIES)
    assert all(row["grade"] == "" for row in rows)
    assert rows[0]["text"] == f"text of {rows[0]['document_id']}"
    rows[0]["grade"], rows[1]["grade"] = "2", " 0 "
    filled(tmp_path / "filled.csv", rows, delimiter)
    judged = judgments.load(tmp_path / "filled.csv")
    query = rows[0]["query_id"]
    assert judged.qrels == {query: {rows[0]["document_id"]: 2, rows[1]["document_id"]: 0}}
    assert judged.queries == {query: QUERIES[query]}


def test_a_place_for_a_sheet_is_made_sure_of(tmp_path: Path) -> None:
    sheets.check(tmp_path / "new.csv")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidInput, match=r"missing/x\.csv cannot be written: No such file"):
        sheets.check(tmp_path / "missing/x.csv")
    (tmp_path / "graded.csv").write_text("2")
    with pytest.raises(InvalidInput, match="grades may be in it"):
        sheets.check(tmp_path / "graded.csv")
    assert (tmp_path / "graded.csv").read_text() == "2"


def test_a_sheet_is_refused_before_any_query_is_searched(tmp_path: Path) -> None:
    """No node and no store is asked: there are none."""
    (tmp_path / "log.txt").write_text("a query\n")
    wanted = write_sheet(
        tmp_path / "log.txt",
        load_settings(home=tmp_path),
        COLLECTION,
        tmp_path / "missing/x.csv",
        count=1,
        top=1,
    )
    with pytest.raises(InvalidInput, match=r"missing/x\.csv cannot be written"):
        asyncio.run(wanted)


def test_a_sheet_favours_no_method_and_tells_no_order(tmp_path: Path) -> None:
    rows = written(tmp_path / "sheet.csv")
    service = SearchService(
        library(passages_of(30)), KnownQueries({QUERIES["q1"]: example(0, Codec.FP32)})
    )
    raw = asyncio.run(collect(service, {"q1": QUERIES["q1"]}, COLLECTION))
    of_methods = [
        [raw.documents[i] for i in raw.owners[raw.chunks[(-raw.scores[:, leg]).argsort()[:3]]]]
        for leg in (0, 2)
    ]
    got = [row["document_id"] for row in rows if row["query_id"] == "q1"]
    for best in of_methods:
        assert set(best) <= set(got)
    assert got != sorted(got)


def test_grades_are_never_overwritten(tmp_path: Path) -> None:
    written(tmp_path / "sheet.csv")
    with pytest.raises(InvalidInput, match=r"sheet.csv exists: grades may be in it"):
        written(tmp_path / "sheet.csv")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("query_id,query,document_id\n", ":1: no column 'grade'"),
        ("query_id,query,document_id,grade\n1,q,d,\n", "has no grade"),
        ("query_id,query,document_id,grade\n1,q,d,good\n", ":2: grade 'good': write 0, 1, 2 or 3"),
        ("query_id,query,document_id,grade\n1,q,d,-1\n", ":2: grade '-1'"),
        ("query_id,query,document_id,grade\n1,q,d,1\n1,q,d,2\n", ":3: query '1' judges 'd' twice"),
        ("query_id,query,document_id,grade\n1, ,d,1\n", ":2: query '1' is empty"),
        ("query_id,query,document_id,grade\n1,q\n", ":2: fewer columns"),
    ],
)
def test_a_sheet_that_is_wrong_is_told_where(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "sheet.csv").write_text(text)
    with pytest.raises(InvalidInput, match=reason):
        judgments.load(tmp_path / "sheet.csv")


def test_judgments_are_a_folder_or_a_sheet(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="neither a folder"):
        judgments.load(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match=r"queries.jsonl is missing"):
        judgments.load(tmp_path)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text('{"_id": "a", "text": "bread"}\n')
    (tmp_path / "qrels/test.tsv").write_text("q\td\ts\na\td0\t1\na\tgone\t1\n")
    judged = judgments.load(tmp_path)
    assert judged.queries == {"a": "bread"}
    known = library({"d0": example(1)}).open(COLLECTION)
    assert judgments.unknown(judged, known) == ["gone"]


def test_logs_are_lines_or_objects(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("bread\n\n bread \nboats {\n")
    assert query_log.read(path) == {"1": "bread", "4": "boats {"}
    path.write_text('{"query": "bread", "_id": "a"}\n{"text": "boats", "n": 1}\n')
    assert query_log.read(path) == {"a": "bread", "2": "boats"}
    queries = {str(i): f"query {i}" for i in range(100)}
    some = query_log.sample(queries, 10)
    assert len(some) == 10
    assert list(some) == sorted(some, key=int)
    assert query_log.sample(queries, 10) == some
    assert query_log.sample(queries, 1_000) == queries


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n \n", "has no query"),
        ('{"query": "a"}\nplain', ":2: invalid JSON"),
        ('{"query": ""}', ":1: expected an object with a text"),
        ('{"query": "a", "id": 1}\n{"query": "b", "id": 1}', ":2: query id '1' is there twice"),
    ],
)
def test_a_log_that_is_none(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "log").write_text(text)
    with pytest.raises(InvalidInput, match=reason):
        query_log.read(tmp_path / "log")
