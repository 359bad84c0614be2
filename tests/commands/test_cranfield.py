"""m3-search eval as installed, on a real judged collection: the quality that is held."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from evaluation.judged.beir import load
from evaluation.measuring.metrics import DEFAULT, measure
from evaluation.scores import files as score_files
from evaluation.scores.ranking import rankings
from evaluation.tuning.places import Places
from tests.processes import COMMANDS, server


@pytest.fixture(scope="module")
def node(stand_in: Path) -> Iterator[str]:
    """In the precision that this machine computes best, as a user has it."""
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    with server(arguments) as (url, _):
        yield url


@pytest.fixture(scope="module")
def half(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every other document, and the queries that have an answer among them."""
    whole, folder = data / "cranfield", tmp_path_factory.mktemp("half") / "cranfield"
    (folder / "qrels").mkdir(parents=True)
    documents = (whole / "corpus.jsonl").read_text().splitlines()[::2]
    ids = {json.loads(line)["_id"] for line in documents}
    head, *judged = (whole / "qrels/test.tsv").read_text().splitlines()
    judged = [line for line in judged if line.split("\t")[1] in ids]
    asked = {query for query, _, grade in map(str.split, judged) if int(grade) > 0}
    judged = [line for line in judged if line.split("\t")[0] in asked]
    queries = (whole / "queries.jsonl").read_text().splitlines()
    queries = [line for line in queries if json.loads(line)["_id"] in asked]
    (folder / "corpus.jsonl").write_text("\n".join(documents))
    (folder / "qrels/test.tsv").write_text("\n".join([head, *judged]))
    (folder / "queries.jsonl").write_text("\n".join(queries))
    return folder


FLOORS = {
    "dense": 0.4337,
    "sparse": 0.3628,
    "colbert": 0.4490,
    "dense+sparse": 0.4614,
    "fusion": 0.4685,
}
"""The stand-in's nDCG@10 on it in fp32, of which bf16 loses .001 at most, less .005."""


@pytest.mark.timeout(600)
def test_cranfield_is_as_good_as_it_was(environment: Mapping[str, str], half: Path) -> None:
    """The order of methods that holds everywhere, no figure below its floor, metrics agree."""
    floors = [f"--floor={method}:nDCG@10={least}" for method, least in FLOORS.items()]
    done = subprocess.run(
        [COMMANDS / "m3-search", "eval", half, "--json", *floors],
        check=False,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=560,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert (measured["documents"], measured["queries"]) == (698, 210)
    ndcg = {method: metrics["nDCG@10"] for method, metrics in measured["results"].items()}
    assert ndcg["dense+sparse"] >= max(ndcg["dense"], ndcg["sparse"])
    assert ndcg["fusion"] >= max(ndcg["dense"], ndcg["sparse"])
    (kept,) = (Path(environment["M3_HOME"]) / "cache/scores").glob("eval-cranfield-*/*.safetensors")
    raw, qrels = score_files.load(kept), load(half).qrels
    assert raw is not None
    ranked = {query: each.documents for query, each in rankings(raw).items()}
    for metric in DEFAULT:
        quick = Places(raw, qrels, metric).values(np.array([[1, 0.3, 1]]))[0]
        assert quick == pytest.approx(measure(qrels, ranked, [metric])[str(metric)], abs=1e-6)
