"""Chunkers for what collections want, each opened once: a tokenizer is megabytes on the wire."""

from __future__ import annotations

from embedder.client import EmbedderClient
from ingest.cutting.chunking import Chunker
from store.spec import Chunking, CollectionSpec


class Chunkers:
    """Chunkers with the tokenizers that nodes serve."""

    def __init__(self, client: EmbedderClient) -> None:
        self._client = client
        self._open: dict[tuple[str, Chunking], Chunker] = {}

    async def of(self, spec: CollectionSpec) -> Chunker:
        """The one for a collection's model and chunking.

        Raises:
            InvalidInput: a chunking that no text could be cut by.
            ModelMismatch: no node serves the model.
            M3Error: as the client says.
        """
        key = (spec.fingerprint, spec.chunking)
        if key not in self._open:
            model = await self._client.model(spec.fingerprint)
            tokenizer = await self._client.tokenizer(spec.fingerprint)
            self._open[key] = Chunker(tokenizer, spec.chunking, model.max_tokens)
        return self._open[key]
