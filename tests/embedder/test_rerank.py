"""Reranking over a real node: its scores, its order, and the clients that people use for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cohere
import httpx
import numpy as np
import pytest

from m3.codec import MEDIA_TYPE, from_bytes
from scoring import definition
from scoring.fusion import METHOD_WEIGHTS, PRESETS, Method

QUERY = "What does a vector database do?"
DOCUMENTS = [
    "The weather in Paris is mild.",
    "Milvus is a vector database: it finds the nearest vectors.",
    "A database keeps what it is given.",
    "Vectors point somewhere. " * 40,
]
PATHS = ("/v1/rerank", "/v2/rerank")


@pytest.fixture(scope="module")
def http(node: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=node, trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def scores(http: httpx.Client) -> list[tuple[float, float, float]]:
    """The oracle's three scores of each document."""

    def encode(texts: list[str], kind: str) -> Any:
        body = {"input": texts, "kind": kind}
        headers = {"Accept": f"{MEDIA_TYPE};codec=fp32"}
        return from_bytes(http.post("/v1/encode", json=body, headers=headers).content)

    query = encode([QUERY], "query").row(0)
    return [definition.scores(query, row) for row in encode(DOCUMENTS, "passage")]


def rerank(http: httpx.Client, path: str = PATHS[1], **body: Any) -> httpx.Response:
    return http.post(path, json={"query": QUERY, "documents": DOCUMENTS, **body})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("chosen", "weights"),
    [
        ({}, METHOD_WEIGHTS[Method.FUSION].as_tuple()),
        ({"method": "dense+sparse"}, METHOD_WEIGHTS[Method.DENSE_SPARSE].as_tuple()),
        ({"weights": "mldr"}, PRESETS["mldr"].as_tuple()),
        ({"weights": {"sparse": 2, "colbert": 0.5}, "method": "dense"}, (0, 2, 0.5)),
    ],
)
def test_results_are_the_oracles_scores_best_first(http, scores, path, chosen, weights):
    answer = rerank(http, path, **chosen).json()
    expected = [definition.fused_score(row, weights) for row in scores]
    results = answer["results"]
    assert [item["index"] for item in results] == np.argsort(-np.array(expected)).tolist()
    for item in results:
        assert item["relevance_score"] == pytest.approx(expected[item["index"]], abs=1e-5)
        got = [item["scores"][name] for name in ("dense", "sparse", "colbert")]
        assert got == pytest.approx(scores[item["index"]], abs=1e-5)
    assert answer["meta"]["api_version"]["version"] == path[2]
    model = http.get("/v1/models").json()["data"][0]
    assert (answer["model"], answer["fingerprint"]) == (model["id"], model["fingerprint"])


def test_scores_are_those_of_flagembeddings_compute_score(http, stand_in: Path):
    from FlagEmbedding import BGEM3FlagModel

    flag = BGEM3FlagModel(str(stand_in), use_fp16=False, pooling_method="mean", devices="cpu")
    found = {item["index"]: item for item in rerank(http).json()["results"]}
    for index, document in enumerate(DOCUMENTS):
        # A pair alone: in a padded batch FlagEmbedding's ColBERT score depends on its mates.
        alone: Mapping[str, list[float]] = flag.compute_score(
            [(QUERY, document)],
            max_query_length=512,
            max_passage_length=512,
            weights_for_different_modes=[1, 0.3, 1],
        )
        item = found[index]
        for name in ("dense", "sparse", "colbert"):
            assert item["scores"][name] == pytest.approx(alone[name][0], abs=1e-4)
        assert item["relevance_score"] == pytest.approx(alone["colbert+sparse+dense"][0], abs=1e-4)


def test_equal_documents_keep_their_order(http):
    results = rerank(http, documents=[DOCUMENTS[0], DOCUMENTS[1], DOCUMENTS[1]] * 3).json()
    order = [item["index"] for item in results["results"]]
    assert order == [1, 2, 4, 5, 7, 8, 0, 3, 6]


def test_top_n_and_the_texts_are_as_asked(http):
    objects = [{"text": text, "title": "passed over"} for text in DOCUMENTS]
    results = rerank(http, documents=objects, top_n=2, return_documents=True).json()["results"]
    assert [item["document"]["text"] for item in results] == [
        DOCUMENTS[item["index"]] for item in results
    ]
    assert len(results) == 2
    assert "document" not in rerank(http, top_n=99).json()["results"][0]


def test_usage_counts_the_query_once_and_documents_are_cut_as_told(http):
    def tokens(text: str, most: int = 512) -> int:
        body = {"input": [text], "max_length": most}
        return len(http.post("/v1/tokenize", json=body).json()["data"][0]["ids"])

    usage = rerank(http).json()["usage"]
    assert usage["total_tokens"] == tokens(QUERY) + sum(map(tokens, DOCUMENTS))
    cut = rerank(http, max_tokens_per_doc=12).json()["usage"]
    assert cut["total_tokens"] == tokens(QUERY) + sum(tokens(text, 12) for text in DOCUMENTS)
    # Cohere's own default is above what many models read.
    assert rerank(http, max_tokens_per_doc=4096).json()["usage"] == usage


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"documents": []}, "documents: List should have at least 1 item"),
        ({"documents": ["a", " "]}, "documents[1]: the text is empty"),
        ({"documents": ["a", {"body": "b"}]}, "documents[1]: an object must have a text"),
        ({"documents": ["a", 5]}, "documents[1]: Input should be a valid string"),
        ({"documents": ["a"] * 2049}, "documents: 2049 texts; one request may have 2048"),
        ({"query": ""}, "query: the text is empty"),
        ({"query": None}, "query: Input should be a valid string"),
        ({"top_n": 0}, "top_n: "),
        ({"max_tokens_per_doc": 2}, "max_tokens_per_doc: "),
        ({"rank_fields": ["title"]}, "rank_fields[0]: Input should be 'text'"),
        ({"method": "bm25"}, "method: "),
        ({"weights": "best"}, "unknown weights 'best'; presets: model-card"),
        ({"weights": {"dense": -1}}, "weights.dense: "),
        ({"weights": {"dense": 0}}, "at least one weight must be above zero"),
        ({"weights": {"splade": 1}}, "weights.splade: Extra inputs"),
        ({"weights": 5}, "weights: "),
    ],
)
def test_bad_requests_are_told_what_is_wrong(http, body, words):
    answer = rerank(http, **body)
    assert answer.status_code == 400
    assert words in answer.json()["message"]
    assert answer.json()["message"] == answer.json()["detail"]


def test_coheres_clients_rank(node):
    v2 = cohere.ClientV2(api_key="any", base_url=node)
    answer = v2.rerank(model="any", query=QUERY, documents=DOCUMENTS, top_n=2)
    assert answer.results[0].index == 1
    assert len(answer.results) == 2
    assert answer.id
    assert answer.meta.tokens.input_tokens > 0
    v1 = cohere.Client(api_key="any", base_url=node)
    answer = v1.rerank(
        query=QUERY,
        documents=[{"text": text} for text in DOCUMENTS],
        return_documents=True,
        max_chunks_per_doc=1,
    )
    assert answer.results[0].document.text == DOCUMENTS[1]
    assert answer.meta.api_version.version == "1"


def test_coheres_clients_raise_what_is_wrong(node):
    client = cohere.ClientV2(api_key="any", base_url=node)
    with pytest.raises(cohere.BadRequestError) as refused:
        client.rerank(model="any", query=QUERY, documents=["a", ""])
    assert refused.value.body["message"] == "documents[1]: the text is empty"
