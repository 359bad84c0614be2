"""Both clients against a real API: every call's answer as the value it should be."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from m3.errors import AlreadyExists, Forbidden, InvalidInput, NotFound, Unauthorized
from search.bodies import SearchOptions
from search.client import AsyncSearchClient, Options, Reranked, SearchClient
from search.client.options import CollectionOptions
from search.models import CollectionBody
from search.response import SearchResponse, as_json
from store.filters import FieldType
from tests.search.library import COLLECTION, library, passages_of
from tests.search.served import PATIENT, served
from tests.search.tenants import api_of, shared_store

ASKED = {"explain": True, "neighbours": 1, "filter": {"field": "shelf", "op": "eq", "value": 1}}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API over a library of thirty passages, which takes documents."""
    store = library(passages_of(30))
    with served(api_of(tmp_path_factory.mktemp("client"), store, keys=False)) as address:
        yield address


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[str]:
    """An API over a library that tenants share."""
    with served(api_of(tmp_path, shared_store())) as address:
        yield address


class Waiting:
    """An `AsyncSearchClient` that is waited for, so that both clients take the same tests."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncSearchClient(*arguments, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def wait(*arguments: Any, **options: Any) -> Any:
            return self._loop.run_until_complete(method(*arguments, **options))

        return wait

    def pages(self, *arguments: Any, **options: Any) -> Iterator[SearchResponse]:
        pages = self._client.pages(*arguments, **options)
        while (page := self._loop.run_until_complete(anext(pages, None))) is not None:
            yield page

    def close(self) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()


@pytest.fixture(params=[SearchClient, Waiting])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., SearchClient]]:
    """Makes a client of either kind."""
    made: list[SearchClient] = []

    def make(*arguments: Any, **options: Any) -> SearchClient:
        made.append(request.param(*arguments, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make: Callable[..., SearchClient], url: str) -> SearchClient:
    return make(url)


def raw(url: str, path: str, body: dict[str, Any]) -> Any:
    return httpx.post(url + path, json=body, trust_env=False, timeout=PATIENT).json()


def test_both_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        own = {name: each for name, each in vars(kind).items() if callable(each) and name[0] != "_"}
        return {name: list(inspect.signature(each).parameters) for name, each in own.items()}

    waiting, tasks = methods(SearchClient), methods(AsyncSearchClient)
    assert {name.replace("aclose", "close"): each for name, each in tasks.items()} == waiting


def test_they_know_all_that_the_api_knows() -> None:
    assert Options.__annotations__.keys() == SearchOptions.model_fields.keys() - {"collection"}
    assert CollectionOptions.__annotations__.keys() == CollectionBody.model_fields.keys() - {"name"}


def test_a_search_is_what_the_api_answers(client: SearchClient, url: str) -> None:
    for more in ({}, ASKED, {"group_by": "document", "rank": "rrf"}, {"weights": {"sparse": 1}}):
        found = client.search("q", COLLECTION, top_k=4, **more)
        body = {"query": "q", "collection": COLLECTION, "top_k": 4, **more}
        theirs = raw(url, "/v1/search", body)
        assert as_json(found)["hits"] == theirs["hits"]
        assert found.page == theirs["page"]
    hit = client.search("q", COLLECTION, must=("d003",)).hits[0]
    assert (hit.document_id, hit.metadata, hit.text) == (
        "d003",
        {"shelf": 1, "no": 3},
        "text of d003",
    )
    with pytest.raises(AttributeError):
        hit.score = 1.0  # type: ignore[misc]


def test_pages_go_on_to_the_last_hit_of_one_snapshot(client: SearchClient) -> None:
    whole = client.search("q", COLLECTION, top_k=50).hits
    found = []
    pages = client.pages("q", COLLECTION, top_k=8, offset=3)
    for number, page in zip(range(9), pages, strict=False):
        found += page.hits
        client.put_document(COLLECTION, f"late-{number}", "late words")
    assert [hit.id for hit in found] == [hit.id for hit in whole[3:]]
    assert len(client.search("q", COLLECTION, top_k=50).hits) > len(whole)
    for late in range(number + 1):
        client.delete_document(COLLECTION, f"late-{late}")


def test_many_searches_are_answers_and_errors(client: SearchClient) -> None:
    ask = {"query": "q", "collection": COLLECTION, "top_k": 2}
    found, wrong = client.search_batch([ask, {**ask, "collection": "nowhere"}])
    assert isinstance(found, SearchResponse)
    assert found.hits == client.search(**ask).hits
    assert isinstance(wrong, NotFound)
    assert "no collection 'nowhere'" in wrong.message


def test_similar_documents_and_reranking(client: SearchClient, url: str) -> None:
    found = client.similar("d001", COLLECTION, top_k=3)
    body = {"document_id": "d001", "collection": COLLECTION, "top_k": 3}
    assert as_json(found)["hits"] == raw(url, "/v1/similar", body)["hits"]
    ranked = client.rerank("q", ["one", "two"], top_n=2)
    assert isinstance(ranked, Reranked)
    assert [result.index for result in ranked.results] == [0, 1]
    assert ranked.results[0].scores.colbert == 0.5


@pytest.mark.parametrize("id_", ["x", "a/b c.md", "a/../b", "..", "q?x=1#y", "100%", "Straße/索引"])
def test_a_document_is_written_seen_and_deleted(client: SearchClient, id_: str) -> None:
    words = "words of one document alone"
    written = client.put_document(
        COLLECTION, id_, words, title="Title", metadata={"shelf": 7}, source="wiki"
    )
    assert (written.outcome, written.chunks) == ("created", 1)
    assert client.search("q", COLLECTION, must=[words]).hits[0].document_id == id_
    shown = client.get_document(COLLECTION, id_, source="wiki")
    assert (shown.id, shown.title, shown.metadata) == (id_, "Title", {"shelf": 7})
    assert [chunk.text for chunk in shown.chunks] == [words]
    client.delete_document(COLLECTION, id_, source="wiki")
    assert client.search("q", COLLECTION, must=[words]).hits == []
    with pytest.raises(NotFound, match="no document"):
        client.get_document(COLLECTION, id_, source="wiki")


def test_a_collection_is_made_shown_and_dropped(client: SearchClient) -> None:
    made = client.create_collection("fresh", fields={"lang": "string"}, codec="bf16")
    assert (made.collection.name, made.documents) == ("fresh", 0)
    assert made.collection.fields == {"lang": FieldType.STRING}
    assert client.get_collection("fresh") == made
    assert [each.name for each in client.list_collections()] == ["fresh", COLLECTION]
    with pytest.raises(AlreadyExists):
        client.create_collection("fresh")
    client.delete_collection("fresh")
    assert [each.name for each in client.list_collections()] == [COLLECTION]


def test_errors_are_the_servers_own(client: SearchClient) -> None:
    with pytest.raises(NotFound, match="no collection 'nowhere'") as caught:
        client.search("q", "nowhere")
    assert caught.value.code == "not_found"
    assert len(caught.value.request_id or "") == 32
    with pytest.raises(InvalidInput, match="top_k must be from 1 to 1000"):
        client.search("q", COLLECTION, top_k=0)
    with pytest.raises(InvalidInput, match="cannot be sent as JSON"):
        client.search("\ud800", COLLECTION)


def test_keys_and_tenants_are_sent(make: Callable[..., SearchClient], keyed: str) -> None:
    def texts(**options: str) -> set[str]:
        hits = make(keyed, **options).search("q", COLLECTION).hits
        return {hit.text.split()[0] for hit in hits}

    assert texts(api_key="acme") == {"acme"}
    assert texts(api_key="operator", tenant="beta") == {"beta"}
    with pytest.raises(Forbidden):
        texts(api_key="acme", tenant="beta")
    for wrong in ({}, {"api_key": "unknown"}):
        with pytest.raises(Unauthorized, match="wants a key that it knows") as caught:
            texts(**wrong)
        assert caught.value.request_id
    assert texts(api_key="acme\n") == {"acme"}
    for wrong in ("schlüssel", "schl\nssel"):
        with pytest.raises(InvalidInput, match="API key") as refused:
            texts(api_key=wrong)
        assert wrong not in refused.value.message


def test_what_is_ready_says_so(make: Callable[..., SearchClient], keyed: str) -> None:
    assert make(keyed).ready()
    assert not make("http://127.0.0.1:9").ready()
    for url in ("127.0.0.1:8000", "http://host:port", "http://"):
        with pytest.raises(InvalidInput, match="is no address of a search API"):
            make(url)


def test_it_needs_no_model_and_no_store() -> None:
    """What a program imports with the client is small, whatever is installed beside it."""
    heavy = "torch transformers lance pyarrow pymilvus milvus_lite fastapi starlette mcp grpc"
    heavy += " embedder ingest serving commands evaluation"
    program = "import sys, search.client; print(*{name.split('.')[0] for name in sys.modules})"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    assert not set(heavy.split()) & set(ran.stdout.split())
