"""The client for an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from m3.errors import M3Error
from m3.settings import Settings
from m3.types import DEFAULT_SOURCE
from search.client import calls
from search.client.address import DEFAULT_URL, Address
from search.client.answers import BatchAnswer, Reranked
from search.client.calls import Call, T
from search.client.options import CollectionOptions, Options, Reranking, Search
from search.client.tries import Tries, answered
from search.response import SearchResponse
from search.views import CollectionView, DocumentView, StatusView
from search.written import Written


class AsyncSearchClient:
    """The search API at one address. For many tasks of one event loop.

    Every method raises the error that the API names (`m3.errors`), with its `code` and
    `request_id`; `Unreachable` where no API answers, `DeadlineExceeded` where it does not in time.
    Refusals (429) are waited for; connections that fail are tried again for as long as nothing
    can have changed.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        tenant: str | None = None,
        timeout: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            api_key: sent as `Authorization: Bearer`.
            tenant: whom to act for; for keys of every tenant alone.
            timeout: seconds for one call, its tries together.
            transport: in place of the network.

        Raises:
            InvalidInput: what is no URL, or no key.
        """
        address = Address.of(url, api_key, tenant)
        self._url = address.url
        self._timeout = timeout
        self._http = httpx.AsyncClient(**address.client_options(), transport=transport)

    @classmethod
    def from_settings(cls, url: str, settings: Settings, *, timeout: float = 60.0) -> Self:
        """With the settings' key."""
        return cls(url, api_key=settings.client_key, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def search(
        self, query: str, collection: str, **options: Unpack[Options]
    ) -> SearchResponse:
        """The hits for a query, best first."""
        return await self._send(calls.search(query, collection, options))

    async def pages(
        self, query: str, collection: str, **options: Unpack[Options]
    ) -> AsyncIterator[SearchResponse]:
        """One page after the other, all of the collection as it is for the first, to the last hit.

        Raises:
            PageExpired: the search is kept no longer, and the collection has gone on.
        """
        following: Options | None = options
        while following is not None:
            page = await self.search(query, collection, **following)
            yield page
            following = calls.after(page, following)

    async def similar(
        self,
        document_id: str,
        collection: str,
        *,
        source: str = DEFAULT_SOURCE,
        **options: Unpack[Options],
    ) -> SearchResponse:
        """The hits most like a stored document, which is not among them."""
        return await self._send(calls.similar(document_id, collection, source, options))

    async def search_batch(self, searches: Sequence[Search]) -> list[BatchAnswer]:
        """For each of up to 32 searches, in order, what it found or the error it ended with."""
        return await self._send(calls.search_batch(searches))

    async def rerank(
        self, query: str, documents: Sequence[str], **options: Unpack[Reranking]
    ) -> Reranked:
        """Texts in the order of their scores for a query; nothing of them is stored."""
        return await self._send(calls.rerank(query, documents, options))

    async def get_document(
        self, collection: str, document_id: str, *, source: str = DEFAULT_SOURCE
    ) -> DocumentView:
        """A document as it is stored. Raises NotFound."""
        return await self._send(calls.get_document(collection, document_id, source))

    async def put_document(
        self,
        collection: str,
        document_id: str,
        text: str,
        *,
        title: str = "",
        metadata: Mapping[str, Any] | None = None,
        source: str = DEFAULT_SOURCE,
    ) -> Written:
        """Write a document whole, in place of the one under its id; the next search sees it."""
        body = {"text": text, "title": title, "metadata": metadata or {}}
        return await self._send(calls.put_document(collection, document_id, source, body))

    async def delete_document(
        self, collection: str, document_id: str, *, source: str = DEFAULT_SOURCE
    ) -> None:
        """Delete a document. Raises NotFound."""
        await self._send(calls.delete_document(collection, document_id, source))

    async def list_collections(self) -> Sequence[CollectionView]:
        """All that the caller sees, by name."""
        return (await self._send(calls.list_collections())).collections

    async def get_collection(self, name: str) -> StatusView:
        """A collection and the counts of what the caller sees of it. Raises NotFound."""
        return await self._send(calls.get_collection(name))

    async def create_collection(
        self, name: str, **options: Unpack[CollectionOptions]
    ) -> StatusView:
        """Make an empty collection for the model that the node serves. Raises AlreadyExists."""
        return await self._send(calls.create_collection(name, options))

    async def delete_collection(self, name: str) -> None:
        """Drop a collection with all its documents, for all that share it. Raises NotFound."""
        await self._send(calls.delete_collection(name))

    async def ready(self) -> bool:
        """Whether searches are welcome now; False too where nobody answers."""
        try:
            answer = await self._http.get("/readyz", timeout=self._timeout)
        except httpx.RequestError:
            return False
        return answer.is_success

    async def _send(self, call: Call[T]) -> T:
        tries = Tries(self._url, changes=call.changes, seconds=self._timeout)
        while True:
            try:
                answer = await self._http.request(
                    call.method,
                    call.path,
                    content=call.content,
                    params=call.params,
                    timeout=tries.timeout(),
                )
                return answered(self._url, call, answer)
            except (httpx.RequestError, M3Error) as failure:
                wait = tries.wait_after(failure)
            await asyncio.sleep(wait)
