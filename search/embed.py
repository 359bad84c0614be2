"""The query's three representations, from a node or from the last time it was asked."""

from __future__ import annotations

from collections import OrderedDict

from embedder.client import EmbedderClient
from m3 import tracing
from m3.errors import InvalidInput
from m3.types import Codec, Representation
from store.spec import CollectionSpec

_CACHE_BYTES = 64 * 2**20


class QueryEmbedder:
    """Queries as a collection's model sees them, in fp32.

    The last ones are kept: pages and methods of one query embed it once. They are named by the
    model's fingerprint, so that they cannot outlive it, and by the tenant, because a quicker
    answer would tell one what another has asked.
    """

    def __init__(self, client: EmbedderClient) -> None:
        self._client = client
        self._kept: OrderedDict[tuple[str, str, str], Representation] = OrderedDict()
        self._bytes = 0

    async def embed(self, query: str, spec: CollectionSpec, tenant: str) -> Representation:
        """A tenant's query for a collection of this spec.

        Raises:
            InvalidInput: it is longer than the model reads.
            ModelMismatch: no node serves the collection's model.
            EmbedderUnreachable, Overloaded, DeadlineExceeded: as the client says.
        """
        key = (tenant, spec.fingerprint, query)
        if (known := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return known
        with tracing.span("search.embed") as span:
            batch = await self._client.encode(
                [query], "query", codec=Codec.FP32, fingerprint=spec.fingerprint
            )
            span.add({"m3.tokens": int(batch.tokens[0])})
        if batch.truncated[0]:
            raise InvalidInput(
                f"query is longer than the {batch.tokens[0]} tokens that {spec.model} reads: "
                "shorten it"
            )
        embedding = batch.row(0)
        self._keep(key, embedding)
        return embedding

    def _keep(self, key: tuple[str, str, str], embedding: Representation) -> None:
        if key not in self._kept:
            self._bytes += bytes_of(embedding)
        self._kept[key] = embedding
        while self._bytes > _CACHE_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= bytes_of(oldest)


def bytes_of(embedding: Representation) -> int:
    """What one takes in memory, nearly."""
    return embedding.codes.nbytes + embedding.dense.nbytes + 16 * len(embedding.sparse_ids)
