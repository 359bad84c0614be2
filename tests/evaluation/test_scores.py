"""Raw scores give what the service answers, for every method, weight and depth, ties included."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.scores import files as score_files
from evaluation.scores.collecting import raw_scores
from evaluation.scores.files import Origin
from evaluation.scores.ranking import rankings
from evaluation.scores.raw import RawScores, collect
from m3.errors import EmbedderUnreachable, GenerationChanged, InvalidInput
from m3.types import Codec, Representation
from scoring.fusion import Method, Weights
from search.ranking import Rank
from search.request import SearchRequest
from search.service import SearchService
from store.memory import MemoryStore
from tests.search.library import (
    COLLECTION,
    KnownQueries,
    books,
    example,
    libraries,
    library,
    passages_of,
    shelf,
)

QUERIES = {"q1": "first", "q2": "second"}
weights = st.none() | st.builds(
    Weights, *[st.sampled_from([0.0, 0.25, 1.0])] * 2, st.sampled_from([0.3, 1.0])
)


@pytest.fixture
def client() -> KnownQueries:
    return KnownQueries({"first": example(1, Codec.FP32), "second": example(2, Codec.FP32)})


@pytest.fixture
def service(client: KnownQueries) -> SearchService:
    return SearchService(library(passages_of(30)), client)


def answered(service: SearchService, request: SearchRequest) -> list[tuple[str, float]]:
    hits = asyncio.run(service.search(request)).hits
    return [(hit.document_id, hit.score) for hit in hits]


@given(libraries(), st.sampled_from(Method), weights, st.integers(1, 16), st.booleans())
def test_rankings_are_the_services(
    world: tuple[Representation, dict[str, Representation], Codec],
    method: Method,
    chosen: Weights | None,
    depth: int,
    by_ranks: bool,
) -> None:
    query, passages, codec = world
    chosen, rank = (None, Rank.RRF) if by_ranks else (chosen, Rank.WEIGHTED)
    # Two passages of a document each, so that documents stand where their best one does.
    ids = sorted(passages)
    chapters = {id_: [passages[one] for one in ids[i : i + 2]] for i, id_ in enumerate(ids[::2])}
    service = SearchService(shelf(chapters, codec), KnownQueries({"q": query}))
    raw = asyncio.run(collect(service, {"1": "q"}, COLLECTION, depth=16))
    got = rankings(raw, method, chosen, depth=depth, rank=rank)["1"]
    request = SearchRequest(
        "q",
        COLLECTION,
        method,
        chosen,
        top_k=depth,
        candidates=depth,
        group_by="document",
        rank=rank,
    )
    want = answered(service, request)
    assert list(zip(got.documents, got.scores, strict=True)) == want


def test_ties_go_by_id() -> None:
    same = example(7)
    passages = dict.fromkeys(("d2", "d10", "d1"), same)
    service = SearchService(library(passages), KnownQueries({"q": example(1, Codec.FP32)}))
    raw = asyncio.run(collect(service, {"1": "q"}, COLLECTION))
    assert rankings(raw)["1"].documents == ["d1", "d10", "d2"]


def test_scores_are_of_no_depth_beyond_their_own(service: SearchService) -> None:
    raw = asyncio.run(collect(service, QUERIES, COLLECTION, depth=5))
    with pytest.raises(InvalidInput, match="depth 6"):
        rankings(raw, depth=6)


def test_some_queries_of_many(service: SearchService) -> None:
    raw = asyncio.run(collect(service, QUERIES, COLLECTION))
    one = raw.only({"q2": "second"})
    assert rankings(one) == {"q2": rankings(raw)["q2"]}
    with pytest.raises(InvalidInput, match="no query"):
        raw.only({})


def test_a_query_that_cannot_be_asked_is_named(
    service: SearchService, client: KnownQueries
) -> None:
    client.truncated = True
    with pytest.raises(InvalidInput, match=r"query 'q\d': query is longer"):
        asyncio.run(collect(service, QUERIES, COLLECTION))


def test_a_node_that_goes_away_ends_it(service: SearchService, client: KnownQueries) -> None:
    client.down = True
    with pytest.raises(EmbedderUnreachable):
        asyncio.run(collect(service, QUERIES, COLLECTION))


def test_a_collection_that_is_written_to_gives_no_scores(client: KnownQueries) -> None:
    store = library(passages_of(30))
    service = SearchService(store, client)

    def write(*_: object) -> None:
        store.open(COLLECTION).replace(books({"new": [example(9)]}))

    many = {f"q{i}": "first" for i in range(20)}
    with pytest.raises(GenerationChanged, match="was written to"):
        asyncio.run(collect(service, many, COLLECTION, on_look=write))


def asked(store: MemoryStore, client: KnownQueries, folder: Path, **options: int) -> RawScores:
    service = SearchService(store, client)
    return asyncio.run(raw_scores(service, client, QUERIES, COLLECTION, folder=folder, **options))


def test_scores_are_kept_and_used_again(client: KnownQueries, tmp_path: Path) -> None:
    store = library(passages_of(30))
    first = asked(store, client, tmp_path)
    assert len(client.encoded) == 2
    again = asked(store, client, tmp_path)
    assert len(client.encoded) == 2
    for name in ("queries", "ids", "documents", "depth"):
        assert getattr(first, name) == getattr(again, name)
    for name in ("offsets", "scores", "ranks", "chunks", "owners"):
        assert np.array_equal(getattr(first, name), getattr(again, name))


def test_stale_scores_are_never_used(client: KnownQueries, tmp_path: Path) -> None:
    store = library(passages_of(30))
    asked(store, client, tmp_path)
    store.open(COLLECTION).replace(books({"new": [example(1)]}))
    raw = asked(store, client, tmp_path)
    assert rankings(raw)["q1"].documents[0] == "new"
    assert len(list(tmp_path.rglob("*"))) == 2, "the other version's are gone"
    asked(store, client, tmp_path, depth=7)
    assert len(list(tmp_path.rglob("*"))) == 3, "another depth is kept beside it"


def test_a_damaged_file_is_as_none(client: KnownQueries, tmp_path: Path) -> None:
    store = library(passages_of(30))
    asked(store, client, tmp_path)
    (path,) = tmp_path.rglob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert score_files.load(path) is None
    path.write_bytes(data[:-9])
    assert score_files.load(path) is None
    asked(store, client, tmp_path)
    assert score_files.load(path) is not None


@pytest.mark.parametrize(
    "other",
    [{"version": 3}, {"fingerprint": "beef"}, {"precision": "bf16"}, {"codec": "fp32"}],
)
def test_everything_that_scores_depend_on_is_in_their_name(
    client: KnownQueries, tmp_path: Path, other: dict[str, object]
) -> None:
    store = library(passages_of(3))
    model = asyncio.run(client.model())
    origin = Origin.of(store.open(COLLECTION), model, QUERIES, 5)
    service = SearchService(store, client)
    path = score_files.save(
        asyncio.run(collect(service, QUERIES, COLLECTION, depth=5)), origin, tmp_path
    )
    assert score_files.load(path, origin) is not None
    assert score_files.load(path, replace(origin, **other)) is None
    assert Origin.of(store.open(COLLECTION), model, {"q1": "first"}, 5) != origin
