"""Documents and their chunks, as they go into a store and as they come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from m3.types import (
    Chunk,
    Context,
    Document,
    DocumentKey,
    EmbeddingBatch,
    Metadata,
    Representation,
    context_of,
    model_text,
)


@dataclass(frozen=True, slots=True)
class DocumentRows:
    """A document cut and embedded: chunk i has embedding i. Without chunks, it has no rows."""

    document: Document
    content_hash: str
    chunks: Sequence[Chunk]
    embeddings: Sequence[Representation]


@dataclass(frozen=True, slots=True)
class ChunkKey:
    """Which chunk a row is. `id` is `source/document#position`, unique within a tenant."""

    row: int
    tenant: str
    source: str
    document_id: str
    position: int

    @property
    def id(self) -> str:
        return f"{self.source}/{self.document_id}#{self.position}"

    @property
    def key(self) -> DocumentKey:
        return DocumentKey(self.tenant, self.source, self.document_id)


@dataclass(frozen=True, slots=True)
class StoredChunk(ChunkKey):
    """A chunk as it came back."""

    chunks: int
    start: int
    end: int
    heading: tuple[str, ...]
    page: int | None
    title: str
    text: str
    metadata: Metadata

    def near(self, reach: int) -> list[int]:
        """The positions up to `reach` before and after this one that its document has."""
        around = range(max(0, self.position - reach), min(self.chunks, self.position + reach + 1))
        return [position for position in around if position != self.position]

    def model_text(self, context: Context = "title") -> str:
        """What the model read, in a generation of that context."""
        return model_text(context_of(self.title, self.heading, context), self.text)


@dataclass(frozen=True, slots=True)
class Rows:
    """Chunks with their representations: chunk i is row i of `embeddings` (None without rows)."""

    chunks: Sequence[StoredChunk]
    embeddings: EmbeddingBatch | None


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as a whole: its chunks in order."""

    key: DocumentKey
    title: str
    metadata: Metadata
    content_hash: str
    chunks: Sequence[StoredChunk]
