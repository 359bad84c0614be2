"""Searches begin by what a collection was when last looked at, and answer by what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from m3.errors import M3Error, ModelMismatch, NotFound
from m3.types import EmbeddingBatch
from scoring.fusion import Method, Weights
from search.collections import Collections
from search.request import SearchRequest
from search.response import SearchResponse
from search.service import SearchService
from store.filters import FieldType
from store.memory import MemoryStore
from store.reports import Defaults
from store.spec import CollectionSpec
from tests.search.library import (
    COLLECTION,
    AnyQuery,
    KnownQueries,
    books,
    example,
    library,
    passages_of,
    spec,
)

REQUEST = SearchRequest("q", COLLECTION)


class Changing(MemoryStore):
    """Its handles look for their collection each time, as those of the real store do."""

    def __init__(self, documents: int = 5) -> None:
        super().__init__()
        self.remake(spec(), documents)

    def open(self, name: str, generation: int | None = None) -> Any:
        super().open(name, generation)
        return _Handle(super().open, name)

    def remake(self, spec: CollectionSpec, documents: int = 5) -> None:
        """As another process may."""
        if COLLECTION in self.names():
            self.drop(COLLECTION)
        self.create(COLLECTION, spec)
        chapters = {id_: [passage] for id_, passage in passages_of(documents).items()}
        super().open(COLLECTION).replace(books(chapters, spec.owner or REQUEST.tenant))


class _Handle:
    def __init__(self, open_: Any, name: str) -> None:
        self._open, self._name = open_, name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._open(self._name), attribute)


class OfOneModel(KnownQueries):
    """A node of one model, which may become another."""

    serves = spec().fingerprint

    async def encode(
        self, texts: Sequence[str], kind: str, *, fingerprint: str | None = None, **options: Any
    ) -> EmbeddingBatch:
        if fingerprint != self.serves:
            raise ModelMismatch("no node serves it")
        batch = await super().encode(texts, kind, fingerprint=spec().fingerprint, **options)
        return replace(batch, fingerprint=self.serves)


@pytest.fixture
def store() -> Changing:
    return Changing()


@pytest.fixture
def client() -> OfOneModel:
    return OfOneModel(AnyQuery())


@pytest.fixture
def service(store: Changing, client: OfOneModel) -> SearchService:
    return SearchService(store, client)


def ask(service: SearchService, request: SearchRequest = REQUEST) -> SearchResponse:
    return asyncio.run(service.search(request))


def test_nothing_is_looked_at_before_the_search(
    service: SearchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(service)

    def looked(*_: object) -> None:
        raise AssertionError("it was remembered")

    monkeypatch.setattr(Collections, "look_at", looked)
    assert len(ask(service).hits) == 5


def test_another_generation_answers(service: SearchService, store: Changing) -> None:
    ask(service)
    store.remake(replace(spec(), pooling=2), documents=0)
    assert ask(service).hits == []


def test_a_filter_may_name_a_field_that_is_there_by_now(
    service: SearchService, store: Changing
) -> None:
    request = replace(REQUEST, filter={"field": "lang", "op": "eq", "value": "en"})
    with pytest.raises(M3Error, match="lang"):
        ask(service, request)
    store.remake(replace(spec(), fields={"lang": FieldType.STRING}))
    assert ask(service, request).hits == []


def test_nodes_may_have_gone_on_to_the_next_model(
    service: SearchService, store: Changing, client: OfOneModel
) -> None:
    ask(service)
    client.serves = "next"
    store.remake(replace(spec(), fingerprint="next"))
    assert len(ask(service, replace(REQUEST, query="another")).hits) == 5


def test_what_is_gone_is_told_as_to_one_who_never_saw_it(
    service: SearchService, store: Changing
) -> None:
    ask(service)
    store.create("secret", replace(spec(), owner="someone"))
    store.drop(COLLECTION)
    with pytest.raises(NotFound, match=COLLECTION) as told:
        ask(service)
    assert "secret" not in str(told.value)


def test_what_became_another_tenants_own_is_gone(service: SearchService, store: Changing) -> None:
    ask(service)
    store.remake(replace(spec(), owner="someone"))
    with pytest.raises(NotFound, match=COLLECTION):
        ask(service)
    assert len(ask(service, replace(REQUEST, tenant="someone")).hits) == 5
    with pytest.raises(NotFound, match=COLLECTION):
        ask(service)


def test_saved_weights_count_from_the_next_search_on(client: OfOneModel) -> None:
    store = library({"d": example(1)})
    service = SearchService(store, client)
    dense = ask(service).hits[0].scores.dense
    collection = store.open(COLLECTION)
    collection.save_defaults(Defaults({Method.FUSION: Weights(1, 0, 0)}), collection.spec)
    assert ask(service).hits[0].score == dense
