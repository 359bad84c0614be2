"""The retrievers within LangChain and LlamaIndex as they are installed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from m3.errors import InvalidInput, NotFound
from search.client import AsyncSearchClient, SearchClient
from search.integrations import langchain, llama_index
from search.response import Hit
from tests.search.library import COLLECTION, library, passages_of
from tests.search.served import served
from tests.search.tenants import api_of

ON_SHELF_1 = {"field": "shelf", "op": "eq", "value": 1}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("retrievers")
    with served(api_of(folder, library(passages_of(30)), keys=False)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[SearchClient]:
    with SearchClient(url) as client:
        yield client


def test_langchain_has_documents_with_their_metadata_and_scores(client):
    retriever = langchain.M3Retriever(client=client, collection=COLLECTION, options={"top_k": 4})
    assert_documents(retriever.invoke("q"), client.search("q", COLLECTION, top_k=4).hits)


def assert_documents(found: list[Document], hits: list[Hit]) -> None:
    assert [document.id for document in found] == [hit.id for hit in hits]
    for document, hit in zip(found, hits, strict=True):
        assert document.page_content == hit.text
        own = {name: of for name, of in document.metadata.items() if name != "hit"}
        assert own == hit.metadata
        about = document.metadata["hit"]
        assert (about["document_id"], about["title"]) == (hit.document_id, hit.title)
        assert (about["score"], about["scores"]) == (hit.score, asdict(hit.scores))


def test_langchain_passes_filters_of_the_retriever_and_of_a_call(client):
    retriever = langchain.M3Retriever(
        client=client, collection=COLLECTION, options={"top_k": 30, "filter": ON_SHELF_1}
    )
    assert {document.metadata["shelf"] for document in retriever.invoke("q")} == {1}
    other = {**ON_SHELF_1, "value": 0}
    assert {document.metadata["shelf"] for document in retriever.invoke("q", filter=other)} == {0}
    assert len(retriever.invoke("q", top_k=2)) == 2
    with pytest.raises(InvalidInput, match="Extra inputs"):
        retriever.invoke("q", k=2)


@pytest.mark.parametrize("own", [True, False])
def test_langchain_waits_for_nothing_in_a_loop(client, url, own):
    async def ask() -> list[Document]:
        async with AsyncSearchClient(url) as tasks:
            retriever = langchain.M3Retriever(
                client=client, collection=COLLECTION, async_client=tasks if own else None
            )
            return await retriever.ainvoke("q", filter=ON_SHELF_1)

    hits = client.search("q", COLLECTION, filter=ON_SHELF_1).hits
    assert_documents(asyncio.run(ask()), hits)


def test_langchain_puts_it_in_a_chain(client):
    retriever = langchain.M3Retriever(client=client, collection=COLLECTION, options={"top_k": 2})
    joined = RunnableLambda(lambda found: " + ".join(each.page_content for each in found))
    chain = {"context": retriever | joined, "question": RunnablePassthrough()} | RunnableLambda(
        dict
    )
    hits = client.search("q", COLLECTION, top_k=2).hits
    assert chain.invoke("q") == {"context": " + ".join(h.text for h in hits), "question": "q"}


def assert_nodes(found: list[NodeWithScore], hits: list[Hit]) -> None:
    assert [(each.node_id, each.score) for each in found] == [(hit.id, hit.score) for hit in hits]
    for each, hit in zip(found, hits, strict=True):
        assert each.node.ref_doc_id == hit.document_id
        assert (each.node.start_char_idx, each.node.end_char_idx) == (hit.start, hit.end)
        assert each.metadata["hit"]["scores"] == asdict(hit.scores)
        assert each.metadata["no"] == hit.metadata["no"]
        read = each.node.get_content(MetadataMode.LLM)
        assert hit.text in read
        assert "colbert" not in read


def test_llama_index_has_nodes_with_their_metadata_and_scores(client):
    retriever = llama_index.M3Retriever(client, COLLECTION, top_k=4, filter=ON_SHELF_1)
    hits = client.search("q", COLLECTION, top_k=4, filter=ON_SHELF_1).hits
    assert_nodes(retriever.retrieve("q"), hits)
    assert_nodes(retriever.retrieve(QueryBundle("q")), hits)


@pytest.mark.parametrize("own", [True, False])
def test_llama_index_waits_for_nothing_in_a_loop(client, url, own):
    async def ask() -> list[NodeWithScore]:
        async with AsyncSearchClient(url) as tasks:
            retriever = llama_index.M3Retriever(
                client, COLLECTION, async_client=tasks if own else None, top_k=3
            )
            return await retriever.aretrieve("q")

    assert_nodes(asyncio.run(ask()), client.search("q", COLLECTION, top_k=3).hits)


def test_errors_are_the_clients_own(client):
    with pytest.raises(NotFound, match="no collection 'nowhere'"):
        langchain.M3Retriever(client=client, collection="nowhere").invoke("q")
    with pytest.raises(NotFound, match="no collection 'nowhere'"):
        llama_index.M3Retriever(client, "nowhere").retrieve("q")
