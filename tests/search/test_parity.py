"""What the service answers over a real node, against FlagEmbedding and the oracle."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from embedder.client import EmbedderClient
from m3.types import Codec, Document, EmbeddingBatch, ModelInfo, Representation
from scoring import definition
from scoring.fusion import METHOD_WEIGHTS, Method
from search.request import SearchRequest
from search.response import Hit
from search.service import SearchService
from store.memory import MemoryStore

TOLERANCE = {Codec.FP32: 1e-4, Codec.INT8: 5e-3}
FUSION = METHOD_WEIGHTS[Method.FUSION].as_tuple()
QUESTIONS = 3


@pytest.fixture(scope="module")
def questions(xquad) -> list[str]:
    return list(xquad.queries.values())[:: len(xquad.queries) // QUESTIONS][:QUESTIONS]


@pytest.fixture(scope="module")
def asked(node: str, questions: list[str]) -> Mapping[str, Representation]:
    async def encode() -> EmbeddingBatch:
        async with EmbedderClient([node]) as client:
            return await client.encode(questions, "query")

    return dict(zip(questions, asyncio.run(encode()), strict=True))


@pytest.fixture(scope="module")
def answers(
    node: str, paragraph_store: MemoryStore, questions: list[str], paragraphs: list[Document]
) -> Mapping[tuple[Codec, str], Sequence[Hit]]:
    """All paragraphs as candidates, by codec and question."""
    depth = len(paragraphs)

    async def search() -> dict[tuple[Codec, str], Sequence[Hit]]:
        async with EmbedderClient([node]) as client:
            service = SearchService(paragraph_store, client)
            found: dict[tuple[Codec, str], Sequence[Hit]] = {}
            for codec in TOLERANCE:
                for question in questions:
                    request = SearchRequest(question, codec, top_k=depth, candidates=depth)
                    found[codec, question] = (await service.search(request)).hits
            return found

    return asyncio.run(search())


@pytest.mark.parametrize("codec", TOLERANCE)
def test_a_fused_score_is_compute_score_of_the_pair_alone(
    flag: Any, answers: Mapping, questions: list[str], codec: Codec
) -> None:
    for question in questions:
        for hit in answers[codec, question][:3]:
            alone = flag.compute_score(
                [(question, hit.text)],
                max_query_length=512,
                max_passage_length=512,
                weights_for_different_modes=list(FUSION),
            )
            expected = [alone[name][0] for name in ("dense", "sparse", "colbert")]
            got = [hit.scores.dense, hit.scores.sparse, hit.scores.colbert]
            assert got == pytest.approx(expected, abs=TOLERANCE[codec])
            assert hit.score == pytest.approx(
                alone["colbert+sparse+dense"][0], abs=TOLERANCE[codec]
            )


@pytest.mark.parametrize("codec", TOLERANCE)
def test_the_order_is_the_oracles_on_the_decoded_rows(
    answers: Mapping,
    asked: Mapping[str, Representation],
    paragraphs: list[Document],
    embedded: tuple[ModelInfo, Mapping[Codec, EmbeddingBatch]],
    codec: Codec,
) -> None:
    for question, query in asked.items():
        expected = {
            document.id: definition.fused_score(definition.scores(query, row), FUSION)
            for document, row in zip(paragraphs, embedded[1][codec], strict=True)
        }
        hits = answers[codec, question]
        assert len(hits) == len(paragraphs) == 120
        _assert_order([hit.document_id for hit in hits], expected, 1e-6)
        for hit in hits:
            assert hit.score == pytest.approx(expected[hit.document_id], abs=1e-6)


def test_fp32_ranks_as_flagembedding_does(
    flag: Any, answers: Mapping, questions: list[str], paragraphs: list[Document]
) -> None:
    """FlagEmbedding's vectors and scores; its batches only pad, its scores are of pairs."""
    texts = [document.text for document in paragraphs]
    options = {"return_sparse": True, "return_colbert_vecs": True, "batch_size": 16}
    passages = flag.encode(texts, max_length=512, **options)
    queries = flag.encode(questions, max_length=512, **options)
    for i, question in enumerate(questions):
        expected = {
            document.id: definition.fused_score(_flag_scores(flag, queries, i, passages, j), FUSION)
            for j, document in enumerate(paragraphs)
        }
        ours = [hit.document_id for hit in answers[Codec.FP32, question]]
        _assert_order(ours, expected, 1e-4)


def _flag_scores(
    flag: Any, queries: Mapping, i: int, passages: Mapping, j: int
) -> tuple[float, float, float]:
    lexical = "lexical_weights"
    return (
        float(np.dot(queries["dense_vecs"][i], passages["dense_vecs"][j])),
        flag.compute_lexical_matching_score(queries[lexical][i], passages[lexical][j]),
        float(flag.colbert_score(queries["colbert_vecs"][i], passages["colbert_vecs"][j])),
    )


def _assert_order(ours: Sequence[str], scores: Mapping[str, float], slack: float) -> None:
    """Whatever comes later scores no more than `slack` above what came before."""
    in_order = np.array([scores[id_] for id_ in ours])
    assert (np.maximum.accumulate(in_order[::-1])[::-1] - in_order <= slack).all()
