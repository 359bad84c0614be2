"""Rankings and their quality through the service, over a library in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from evaluation.beir import TestCollection
from evaluation.collection import own_name
from evaluation.run import quality, search_all
from m3.errors import EmbedderUnreachable, InvalidInput
from m3.types import Chunk, Codec, Document, ModelInfo
from scoring.fusion import Method
from search.service import SearchService
from store.contract import DocumentRows
from store.memory import MemoryStore
from tests.search.library import COLLECTION, KnownQueries, example, spec


@pytest.fixture
def judged() -> TestCollection:
    queries = {"q1": "first", "q2": "second"}
    return TestCollection("set", Path(), queries, {"q1": {"d1": 1}, "q2": {"d2": 1, "d0": 0}})


@pytest.fixture
def client() -> KnownQueries:
    return KnownQueries({"first": example(1, Codec.FP32), "second": example(2, Codec.FP32)})


@pytest.fixture
def service(client: KnownQueries) -> SearchService:
    """Three documents of three passages each; d1 holds the first query itself."""
    store = MemoryStore()
    passages = {"d0": (10, 11, 12), "d1": (13, 1, 14), "d2": (15, 16, 17)}
    store.create(COLLECTION, spec()).replace(
        [
            DocumentRows(
                Document(id_, "text"),
                "hash",
                [Chunk(i, "text", 0, 4) for i in range(len(seeds))],
                [example(seed) for seed in seeds],
            )
            for id_, seeds in passages.items()
        ]
    )
    return SearchService(store, client)


def test_documents_stand_where_their_best_passage_stands(
    service: SearchService, judged: TestCollection, client: KnownQueries
) -> None:
    done: list[int] = []
    methods = [Method.DENSE, Method.FUSION]
    rankings = asyncio.run(search_all(service, judged, COLLECTION, methods, done.append))
    assert list(rankings) == methods
    for ranking in rankings.values():
        assert ranking["q1"][0] == "d1"
        assert all(sorted(documents) == ["d0", "d1", "d2"] for documents in ranking.values())
    assert sum(done) == 2
    assert sorted(client.encoded) == ["first", "second"]
    found = quality(judged, 3, rankings)
    assert (found.dataset, found.documents, found.queries) == ("set", 3, 2)
    assert list(found.results) == ["dense", "fusion"]
    assert found.results["dense"]["Recall@100"] == 1


def test_a_query_that_cannot_be_asked_is_named(
    service: SearchService, judged: TestCollection, client: KnownQueries
) -> None:
    client.truncated = True
    with pytest.raises(InvalidInput, match=r"query 'q\d': query is longer"):
        asyncio.run(search_all(service, judged, COLLECTION, [Method.DENSE], print))


def test_a_node_that_goes_away_ends_it(
    service: SearchService, judged: TestCollection, client: KnownQueries
) -> None:
    client.down = True
    with pytest.raises(EmbedderUnreachable):
        asyncio.run(search_all(service, judged, COLLECTION, [Method.DENSE], print))


def test_collections_of_its_own_are_named_by_folder_model_and_codec() -> None:
    def named(folder: str, codec: Codec = Codec.INT8) -> str:
        model = ModelInfo("m", "0123456789abcdef", "fp32", 64, 512)
        return own_name(TestCollection(folder, Path(), {}, {}), model, codec)

    assert named("scifact") == "eval-scifact-01234567-int8"
    assert named("my set/é", Codec.FP32) == "eval-my-set--01234567-fp32"
    assert len(named("x" * 200)) <= 64
