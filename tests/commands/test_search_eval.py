"""m3-search eval: judged collections through the real node, store and service."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.processes import COMMANDS, server

COMMAND = COMMANDS / "m3-search"
METHODS = ["dense", "sparse", "colbert", "dense+sparse", "fusion"]
METRICS = ["nDCG@10", "Recall@100", "MRR@10"]


@pytest.fixture(scope="module")
def node(stand_in: Path) -> Iterator[str]:
    """In the precision that this machine computes best, as a user has it."""
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    with server(arguments) as (url, _):
        yield url


@pytest.fixture(scope="module")
def environment(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    home = tmp_path_factory.mktemp("eval-home")
    settings = {"M3_HOME": str(home), "M3_EMBEDDER_URL": node}
    yield settings
    run(settings, "engine", "stop")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three documents, one of them without text; two judged queries."""
    folder = tmp_path / "tiny set"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        '{"_id": "1", "title": "Bread", "text": "Bakers bake bread of flour and water."}\n'
        '{"_id": "2", "title": "Harbour", "text": "Boats lie in the harbour."}\n'
        '{"_id": "3", "title": "", "text": ""}\n'
    )
    (folder / "queries.jsonl").write_text(
        '{"_id": "a", "text": "who bakes bread"}\n{"_id": "b", "text": "boats in the harbour"}\n'
    )
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\na\t1\t1\nb\t2\t1\n")
    return folder


def run(
    environment: Mapping[str, str], *arguments: str | Path, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        check=False,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def passage_tokens(node: str) -> float:
    metrics = httpx.get(f"{node}/metrics", trust_env=False).text
    return float(re.findall(r'^m3_tokens_total{lane="passage"} (\S+)', metrics, re.M)[0])


def test_the_json_is_the_contracts_and_a_second_run_embeds_no_passage(
    environment: Mapping[str, str], node: str, folder: Path
) -> None:
    first = run(environment, "eval", folder, "--json")
    assert first.returncode == 0, first.stderr
    perfect = dict.fromkeys(METRICS, 1.0)
    assert json.loads(first.stdout) == {
        "dataset": "tiny set",
        "documents": 2,
        "queries": 2,
        "results": dict.fromkeys(METHODS, perfect),
    }
    before = passage_tokens(node)
    assert before > 0
    again = run(environment, "eval", folder, "--json", "--methods", "sparse,fusion")
    assert list(json.loads(again.stdout)["results"]) == ["sparse", "fusion"]
    assert passage_tokens(node) == before


def test_people_see_a_table(environment: Mapping[str, str], folder: Path) -> None:
    shown = run(environment, "eval", folder, "--methods", "dense")
    assert shown.returncode == 0, shown.stderr
    for words in (*METRICS, "tiny set: 2 documents, 2 queries", "English-only stand-in"):
        assert words in shown.stdout
    assert re.search(r"collection eval-tiny-set-[0-9a-f]{8}-int8:", shown.stdout)


def test_documents_of_another_corpus_are_told(environment: Mapping[str, str], folder: Path) -> None:
    assert run(environment, "eval", folder, "--methods", "dense").returncode == 0
    (folder / "corpus.jsonl").write_text('{"_id": "1", "text": "Bakers bake bread."}\n')
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


@pytest.mark.timeout(600)
def test_cranfield_is_as_good_as_it_should_be(environment: Mapping[str, str], data: Path) -> None:
    """The order of methods that holds everywhere, and the stand-in's published figures."""
    done = run(environment, "eval", data / "cranfield", "--json", seconds=560)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert (measured["documents"], measured["queries"]) == (1398, 225)
    ndcg = {method: metrics["nDCG@10"] for method, metrics in measured["results"].items()}
    assert ndcg["dense+sparse"] >= max(ndcg["dense"], ndcg["sparse"])
    assert ndcg["fusion"] >= max(ndcg["dense"], ndcg["sparse"])
    published = {
        "dense": 0.395,
        "sparse": 0.329,
        "colbert": 0.400,
        "dense+sparse": 0.419,
        "fusion": 0.424,
    }
    for method, figure in published.items():
        assert ndcg[method] >= figure - 0.01, method
