"""The collections of a search API that runs elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from search.bodies import SearchBody
from search.client import AsyncSearchClient
from search.response import SearchResponse
from search.views import DocumentView, StatusView


class RemoteLibrary:
    """A `Library` that sees what the client's key sees."""

    def __init__(self, client: AsyncSearchClient) -> None:
        self._client = client

    async def search(self, body: SearchBody) -> SearchResponse:
        return await self._client.search(**body.model_dump(exclude_unset=True))

    async def document(self, collection: str, source: str, document_id: str) -> DocumentView:
        return await self._client.get_document(collection, document_id, source=source)

    async def collections(self) -> Sequence[StatusView]:
        listed = await self._client.list_collections()
        return await asyncio.gather(*[self._client.get_collection(each.name) for each in listed])
