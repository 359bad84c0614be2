"""A retriever for LangChain (`m3-retrieval[langchain]`)."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from search.client import AsyncSearchClient, SearchClient
from search.integrations.metadata import metadata
from search.response import SearchResponse


class M3Retriever(BaseRetriever):
    """Passages of one collection as LangChain's documents, best first.

    Attributes:
        async_client: for `ainvoke` and its like; without it they use `client` in a thread.
        options: of every search, as `SearchClient.search` takes them; those that are given with
            a call (`retriever.invoke(query, filter={…})`) go before.
    """

    client: SearchClient
    collection: str
    async_client: AsyncSearchClient | None = None
    options: dict[str, Any] = Field(default_factory=dict[str, Any])

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 - LangChain hands it over
        **options: Any,
    ) -> list[Document]:
        return _documents(self.client.search(query, self.collection, **self.options | options))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        if self.async_client is None:
            sync = run_manager.get_sync()
            return await asyncio.to_thread(
                self._get_relevant_documents, query, run_manager=sync, **options
            )
        found = await self.async_client.search(query, self.collection, **self.options | options)
        return _documents(found)


def _documents(found: SearchResponse) -> list[Document]:
    return [
        Document(id=hit.id, page_content=hit.text, metadata=metadata(hit)) for hit in found.hits
    ]
