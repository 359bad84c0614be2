"""Collections and documents as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from m3.types import Codec, Metadata, Tenancy
from scoring.fusion import Method, Weights
from store.chunks import StoredDocument
from store.filters import FieldType
from store.reports import Counts, Status
from store.spec import Chunking, CollectionSpec


@dataclass(frozen=True, slots=True)
class CollectionView:
    """What a collection's rows are.

    Attributes:
        pooling: tokens for which one ColBERT vector is kept.
        stand_in: made by the English-only stand-in model.
    """

    name: str
    model: str
    fingerprint: str
    precision: str
    dimension: int
    codec: Codec
    chunking: Chunking
    fields: Mapping[str, FieldType]
    tenancy: Tenancy
    pooling: int
    stand_in: bool


@dataclass(frozen=True, slots=True)
class CollectionsView:
    """All collections, by name."""

    collections: Sequence[CollectionView]


@dataclass(frozen=True, slots=True)
class StatusView:
    """A collection and the counts of its published version.

    Where it is shared and tenants are told apart, the caller's own documents and chunks are
    counted, and what would tell of others' is null.

    Attributes:
        bytes: on disk, index apart.
        unpublished: commits that the index does not have yet.
        weights: what searches use that give none, by method, where they were tuned.
        rerank_depth: what searches use that give none; null where all candidates are ranked.
    """

    collection: CollectionView
    generation: int
    version: int | None
    documents: int
    chunks: int
    bytes: int | None
    unpublished: int | None
    weights: Mapping[Method, Weights]
    rerank_depth: int | None = None


@dataclass(frozen=True, slots=True)
class ChunkView:
    """A passage; `start` and `end` count characters of its document's text."""

    id: str
    position: int
    text: str
    start: int
    end: int
    heading: Sequence[str]
    page: int | None


@dataclass(frozen=True, slots=True)
class DocumentView:
    """A document as it is stored, its chunks in order."""

    id: str
    source: str
    title: str
    metadata: Metadata
    content_hash: str
    chunks: Sequence[ChunkView]


def collection_view(name: str, spec: CollectionSpec) -> CollectionView:
    return CollectionView(
        name=name,
        model=spec.model,
        fingerprint=spec.fingerprint,
        precision=spec.precision,
        dimension=spec.dimension,
        codec=spec.codec,
        chunking=spec.chunking,
        fields=spec.fields,
        tenancy=spec.tenancy,
        pooling=spec.pooling,
        stand_in=spec.stand_in,
    )


def status_view(status: Status, own: Counts | None) -> StatusView:
    """`own`: of the tenant that asks; None for whoever may know all of it."""
    return StatusView(
        collection=collection_view(status.name, status.spec),
        generation=status.generation,
        version=status.version if own is None else None,
        documents=(own or status).documents,
        chunks=(own or status).chunks,
        bytes=status.bytes if own is None else None,
        unpublished=status.unpublished if own is None else None,
        weights=status.defaults.weights,
        rerank_depth=status.defaults.rerank_depth,
    )


def document_view(document: StoredDocument) -> DocumentView:
    return DocumentView(
        id=document.key.id,
        source=document.key.source,
        title=document.title,
        metadata=document.metadata,
        content_hash=document.content_hash,
        chunks=[
            ChunkView(
                id=chunk.id,
                position=chunk.position,
                text=chunk.text,
                start=chunk.start,
                end=chunk.end,
                heading=chunk.heading,
                page=chunk.page,
            )
            for chunk in document.chunks
        ],
    )
