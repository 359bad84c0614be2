"""A retriever for LlamaIndex (`m3-retrieval[llama-index]`)."""

from __future__ import annotations

import asyncio
from typing import Unpack

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import (
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

from search.client import AsyncSearchClient, Options, SearchClient
from search.integrations.metadata import KEY, metadata
from search.response import Hit, SearchResponse


class M3Retriever(BaseRetriever):
    """Passages of one collection as LlamaIndex's nodes, best first."""

    def __init__(
        self,
        client: SearchClient,
        collection: str,
        *,
        async_client: AsyncSearchClient | None = None,
        **options: Unpack[Options],
    ) -> None:
        """Nothing is sent yet.

        Args:
            async_client: for `aretrieve`; without it that uses `client` in a thread.
            options: of every search, as `SearchClient.search` takes them.
        """
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self._client = client
        self._async_client = async_client
        self._collection = collection
        self._options = options

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        query = query_bundle.query_str
        return _nodes(self._client.search(query, self._collection, **self._options))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        if self._async_client is None:
            return await asyncio.to_thread(self._retrieve, query_bundle)
        query = query_bundle.query_str
        return _nodes(await self._async_client.search(query, self._collection, **self._options))


def _nodes(found: SearchResponse) -> list[NodeWithScore]:
    return [NodeWithScore(node=_node(hit), score=hit.score) for hit in found.hits]


def _node(hit: Hit) -> TextNode:
    """Its source is the document; a model that reads it is shown no scores."""
    return TextNode(
        id_=hit.id,
        text=hit.text,
        metadata=metadata(hit),
        excluded_llm_metadata_keys=[KEY],
        excluded_embed_metadata_keys=[KEY],
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=hit.document_id)},
        start_char_idx=hit.start,
        end_char_idx=hit.end,
    )
