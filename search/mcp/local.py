"""The collections of this process, for one caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from m3.types import DocumentKey
from search import seeing
from search.bodies import SearchBody
from search.request import SearchRequest
from search.response import SearchResponse
from search.service import SearchService
from search.views import DocumentView, StatusView
from serving.keys.caller import Caller

OnSearch = Callable[[SearchRequest, SearchResponse], None]


def _unnoted(_: SearchRequest, __: SearchResponse) -> None:
    """Nobody counts."""


class LocalLibrary:
    """A `Library` that sees what the caller's tenant sees."""

    def __init__(
        self, service: SearchService, caller: Caller, on_search: OnSearch = _unnoted
    ) -> None:
        self._service = service
        self._caller = caller
        self._on_search = on_search

    async def search(self, body: SearchBody) -> SearchResponse:
        request = body.request(self._caller.tenant)
        response = await self._service.search(request)
        self._on_search(request, response)
        return response

    async def document(self, collection: str, source: str, document_id: str) -> DocumentView:
        key = DocumentKey(self._caller.tenant, source, document_id)
        return await asyncio.to_thread(seeing.document, self._service.collections, collection, key)

    async def collections(self) -> Sequence[StatusView]:
        return await asyncio.to_thread(self._statuses)

    def _statuses(self) -> list[StatusView]:
        seen = self._service.collections.seen_by(seeing.sight(self._caller))
        return [seeing.status(each, self._caller) for each in seen]
