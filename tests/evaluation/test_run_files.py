"""TREC runs: what is written is read back in the same order, by us and by trec_eval."""

from __future__ import annotations

import codecs
from pathlib import Path

import ir_measures
import numpy as np
import pytest

from evaluation.measuring import per_query, run_files
from evaluation.measuring.floors import Missed, missed, parse
from evaluation.measuring.metrics import DEFAULT, Metric, measure
from evaluation.measuring.quality import measure_methods
from evaluation.scores.ranking import Ranking, rankings
from m3.errors import InvalidInput
from scoring.fusion import Method, Weights
from tests.evaluation.drawn import drawn, judgments

MAP = Metric("MAP")


def test_ties_are_read_in_the_order_they_were_written(tmp_path: Path) -> None:
    tied = Ranking([f"d{i}" for i in range(9)], [0.5] * 4 + [0.25] * 5)
    path = tmp_path / "tied.run"
    run_files.write({"q": tied}, path, "tied")
    assert list(run_files.read(path)["q"].documents) == list(tied.documents)


def test_ties_of_others_are_read_as_trec_eval_orders_them(tmp_path: Path) -> None:
    path = tmp_path / "tied.run"
    path.write_text("q Q0 a 1 0.5 tag\nq Q0 c 2 0.5 tag\nq Q0 b 3 0.9 tag\n")
    assert list(run_files.read(path)["q"].documents) == ["b", "c", "a"]


def test_figures_of_a_file_are_those_of_the_run(tmp_path: Path) -> None:
    """By our reader, and by ir-measures' own of the same file, which is trec_eval's order."""
    rng = np.random.default_rng(8)
    raw = drawn(rng, queries=9, candidates=80, levels=4)
    qrels = judgments(rng, raw, relevant=40)
    run = rankings(raw)
    path = tmp_path / "fusion.run"
    run_files.write(run, path, "fusion")
    want = measure(qrels, {query: each.documents for query, each in run.items()})
    ours = measure(qrels, {query: each.documents for query, each in run_files.read(path).items()})
    for name, values in want.items():
        assert np.array_equal(values, ours[name]), name
    theirs = ir_measures.calc_aggregate(
        [metric.measure() for metric in DEFAULT], qrels, ir_measures.read_trec_run(str(path))
    )
    for metric in DEFAULT:
        assert theirs[metric.measure()] == pytest.approx(want[str(metric)].mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q Q0 d2 2 0.5", ":2: 5 columns; a TREC run has 6: query Q0 document rank score tag"),
        ("q Q0 d2 2 half tag", ":2: the fifth column, the score, is 'half', not a number"),
        ("q Q0 d2 2 nan tag", ":2: the fifth column"),
        ("q Q0 d1 2 0.5 tag", ":2: query 'q' has document 'd1' twice"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "bad.run"
    path.write_text(f"q Q0 d1 1 0.9 tag\n{line}\n")
    with pytest.raises(InvalidInput, match=reason):
        run_files.read(path)


def test_a_file_without_a_run(tmp_path: Path) -> None:
    (tmp_path / "empty.run").write_text("\n")
    (tmp_path / "binary.run").write_bytes(b"\xff\xfe")
    for name, reason in (
        ("nowhere.run", "cannot be read"),
        ("empty.run", "no line"),
        ("binary.run", "UTF-8"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            run_files.read(tmp_path / name)


def test_an_id_with_a_blank_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    for run in (
        {"p": Ranking(["d"], [1.0]), "q": Ranking(["two words"], [1.0])},
        {"p": Ranking(["d"], [1.0]), "two words": Ranking(["d"], [1.0])},
    ):
        with pytest.raises(InvalidInput, match="'two words'"):
            run_files.write(run, path, "tag")
        assert not path.exists()


def test_tables_of_queries_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    raw = drawn(rng, queries=4, candidates=120)
    qrels = judgments(rng, raw, relevant=9)
    found = measure_methods(raw, qrels, [Method.DENSE, Method.FUSION])
    path = tmp_path / "table.csv"
    per_query.write(path, found)
    assert per_query.is_one(path)
    table = per_query.read(path)
    for each in found:
        for i, query in enumerate(qrels):
            want = {name: round(float(values[i]), 6) for name, values in each.values.items()}
            assert table[each.method][query] == want
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert per_query.is_one(path)
    assert per_query.read(path) == table
    with path.open("a") as file:
        file.write("q0,dense,1,1,1,1\n")
    with pytest.raises(InvalidInput, match=r"table.csv:10: query 'q0' is there twice"):
        per_query.read(path)
    path.write_text("query,method,MAP\nq,dense\n")
    with pytest.raises(InvalidInput, match=r":2: 2 columns in place of 3"):
        per_query.read(path)
    path.write_bytes(b"query,method,MAP\n\xff,dense,1\n")
    with pytest.raises(InvalidInput, match="not text in UTF-8"):
        per_query.read(path)


def test_methods_are_measured_by_the_weights_that_are_given() -> None:
    rng = np.random.default_rng(10)
    raw = drawn(rng, queries=4, candidates=20)
    qrels = judgments(rng, raw, relevant=20)
    dense = {Method.FUSION: Weights(1, 0, 0)}
    (found,) = measure_methods(raw, qrels, [Method.FUSION], weights=dense, metrics=[MAP])
    assert found.weights == Weights(1, 0, 0)
    assert found.run == rankings(raw, Method.FUSION, Weights(1, 0, 0))
    assert found.run != rankings(raw, Method.FUSION)
    with pytest.raises(InvalidInput, match="nDCG@10 looks deeper than the 9 candidates"):
        measure_methods(raw, qrels, [Method.FUSION], depth=9)


def test_floors() -> None:
    results = {"fusion": {"nDCG@10": 0.7}}
    assert missed([parse("fusion:nDCG@10=0.70")], results) == []
    assert missed([parse("fusion:nDCG@10=.705")], results) == [Missed("fusion:nDCG@10=0.705", 0.7)]
    with pytest.raises(InvalidInput, match="not among those measured"):
        missed([parse("dense:nDCG@10=0.1")], results)


@pytest.mark.parametrize("text", ["fusion", "fusion:nDCG@10", "fusion:nDCG@10=70", "x:MAP=0.1"])
def test_a_floor_that_is_none(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"write it as fusion:nDCG@10=0\.70|unknown method"):
        parse(text)
