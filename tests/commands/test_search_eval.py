"""m3-search eval: judged collections through the real node, store and service."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from tests.commands.calls import run

METHODS = ["dense", "sparse", "colbert", "dense+sparse", "fusion"]
METRICS = ["nDCG@10", "Recall@100", "MRR@10", "MAP"]


def passage_tokens(node: str) -> float:
    metrics = httpx.get(f"{node}/metrics", trust_env=False, timeout=60).text
    return float(re.findall(r'^m3_tokens_total{lane="passage"} (\S+)', metrics, re.M)[0])


def test_the_json_is_the_contracts_and_a_second_run_embeds_no_passage(
    environment: Mapping[str, str], node: str, folder: Path
) -> None:
    first = run(environment, "eval", folder, "--json")
    assert first.returncode == 0, first.stderr
    perfect = dict.fromkeys(METRICS, 1.0)
    found = json.loads(first.stdout)
    assert {name: found[name] for name in ("dataset", "documents", "queries", "results")} == {
        "dataset": "tiny set",
        "documents": 2,
        "queries": 2,
        "results": dict.fromkeys(METHODS, perfect),
    }
    assert found["intervals"]["fusion"]["MAP"] == [1.0, 1.0]
    assert found["weights"]["fusion"] == {"dense": 1, "sparse": 0.3, "colbert": 1}
    assert (found["depth"], found["missed"]) == (200, [])
    before = passage_tokens(node)
    assert before > 0
    again = run(environment, "eval", folder, "--json", "--methods", "sparse,fusion")
    assert list(json.loads(again.stdout)["results"]) == ["sparse", "fusion"]
    assert passage_tokens(node) == before


def test_people_see_a_table(environment: Mapping[str, str], folder: Path) -> None:
    shown = run(environment, "eval", folder, "--methods", "dense")
    assert shown.returncode == 0, shown.stderr
    for words in (*METRICS, "tiny set, test: 2 documents, 2 queries", "English-only stand-in"):
        assert words in shown.stdout
    assert re.search(r"collection eval-tiny-set-[0-9a-f]{8}-int8:", shown.stdout)


def test_a_missed_floor_is_exit_1_and_named(
    environment: Mapping[str, str], folder: Path, tmp_path: Path
) -> None:
    with (folder / "qrels/test.tsv").open("a") as qrels:
        qrels.write("b\t3\t1\n")
    files = ["--per-query", tmp_path / "each.csv", "--run-out", tmp_path / "runs"]
    floors = ["--floor", "fusion:MRR@10=1", "--floor", "fusion:Recall@100=0.80"]
    missed = run(environment, "eval", folder, "--methods", "fusion", *floors, *files)
    assert missed.returncode == 1
    assert "missed: fusion:Recall@100=0.8, measured 0.7500" in missed.stderr
    assert "MRR@10=1" not in missed.stderr
    assert (tmp_path / "each.csv").read_text().splitlines()[2].startswith("b,fusion,")
    ranked = (tmp_path / "runs/fusion.run").read_text().splitlines()
    assert [line.split()[:4] for line in ranked[:2]] == [
        ["a", "Q0", "1", "1"],
        ["a", "Q0", "2", "2"],
    ]
    same = run(
        environment, "compare", *[tmp_path / "runs/fusion.run"] * 2, "--judgments", folder, "--json"
    )
    assert same.returncode == 0, same.stderr
    comparison = json.loads(same.stdout)[0]
    assert (comparison["metric"], comparison["difference"], comparison["noise"]) == (
        "nDCG@10",
        0,
        True,
    )
    assert "noise" in run(environment, "compare", *[tmp_path / "each.csv"] * 2).stdout


def test_documents_of_another_corpus_are_told(environment: Mapping[str, str], folder: Path) -> None:
    assert run(environment, "eval", folder, "--methods", "dense").returncode == 0
    (folder / "corpus.jsonl").write_text('{"_id": "1", "text": "Bakers bake bread."}\n')
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\na\t1\t1\n")
    failed = run(environment, "eval", folder, "--methods", "dense")
    assert failed.returncode == 2
    assert "holds 2 documents" in failed.stderr
    assert "m3-ingest drop eval-tiny-set-" in failed.stderr


def test_a_collection_may_be_named(environment: Mapping[str, str], folder: Path) -> None:
    named = run(environment, "eval", folder, "--collection", "mine", "--methods", "fusion")
    assert named.returncode == 0, named.stderr
    asked = run(environment, "query", "bread", "--collection", "mine", "--json")
    assert json.loads(asked.stdout)["hits"][0]["document_id"] == "1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere/corpus.jsonl is missing"),
        (["{folder}", "--methods", "bm25"], "unknown method 'bm25'; there are: dense"),
        (["{folder}", "--metrics", "P@5"], "unknown metric 'P@5'"),
        (["{folder}", "--floor", "fusion=1"], "write it as fusion:nDCG@10=0.70"),
        (["{folder}", "--methods", "dense", "--floor", "fusion:MAP=1"], "not among those measured"),
        (["{folder}", "--split", "dev"], "qrels/dev.tsv is missing; there are judgments of: test"),
        (
            ["{folder}", "--per-query", "/nowhere/a.csv"],
            "/nowhere/a.csv cannot be written: No such",
        ),
        (["{folder}", "--depth", "50"], "Recall@100 looks deeper than the 50 candidates"),
    ],
)
def test_wrong_usage_is_exit_2(
    environment: Mapping[str, str], folder: Path, arguments: list[str], words: str
) -> None:
    failed = run(environment, "eval", *[each.format(folder=folder) for each in arguments])
    assert failed.returncode == 2
    assert words in failed.stderr


def test_a_broken_corpus_is_named_with_its_line(
    environment: Mapping[str, str], folder: Path
) -> None:
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "4", "text": \n')
    failed = run(environment, "eval", folder, "--collection", "broken")
    assert failed.returncode == 2
    assert "corpus.jsonl:4: invalid JSON" in failed.stderr


def test_judgments_of_documents_that_are_not_there_are_counted_and_named(
    environment: Mapping[str, str], folder: Path
) -> None:
    with (folder / "qrels/test.tsv").open("a") as qrels:
        qrels.writelines(f"a\tgone{i}\t1\n" for i in range(7))
    failed = run(environment, "eval", folder)
    assert failed.returncode == 2
    assert "judges 7 documents ('gone0', 'gone1'" in failed.stderr
    (folder / "qrels/test.tsv").rename(folder / "qrels/train.tsv")
    methods = ("--methods", "dense", "--json")
    done = run(environment, "eval", folder, "--split", "train", "--allow-unknown", *methods)
    found = json.loads(done.stdout)
    assert found["unknown_documents"] == [f"gone{i}" for i in range(7)]
    assert found["split"] == "train"
    assert found["results"]["dense"]["Recall@100"] == pytest.approx((1 / 8 + 1) / 2, abs=1e-4)


def test_one_judged_query_has_no_interval(environment: Mapping[str, str], folder: Path) -> None:
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\na\t1\t1\n")
    found = run(environment, "eval", folder, "--methods", "dense", "--json")
    assert json.loads(found.stdout)["intervals"]["dense"]["MAP"] is None
    tuned = run(environment, "tune", folder, "--collection", "mine")
    assert tuned.returncode == 2
    assert "1 judged query: tuning needs 10" in tuned.stderr
