"""Small documents with random representations, for tests of stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from m3.codec import encode_tokens
from m3.types import Chunk, Codec, Document, DocumentKey, Representation
from store.candidates import Candidates
from store.chunks import DocumentRows, StoredChunk
from store.contract import Collection
from store.filters import FieldType
from store.spec import CollectionSpec

DIMENSION = 16
VOCABULARY = 60

FIELDS = {
    "lang": FieldType.STRING,
    "year": FieldType.INT,
    "price": FieldType.FLOAT,
    "open": FieldType.BOOL,
    "tags": FieldType.STRINGS,
}

SPEC = CollectionSpec(
    model="test", fingerprint="f0", precision="fp32", dimension=DIMENSION, fields=FIELDS
)

POOLED = replace(SPEC, pooling=2)


def embedding(
    rng: np.random.Generator, *, codec: Codec = Codec.INT8, terms: int = 6
) -> Representation:
    dense = rng.standard_normal(DIMENSION).astype(np.float32)
    tokens = rng.standard_normal((int(rng.integers(1, 9)), DIMENSION)).astype(np.float32)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    ids = np.sort(rng.choice(np.arange(5, VOCABULARY), terms, replace=False)).astype(np.int32)
    return Representation(
        dense=(dense / np.linalg.norm(dense)).astype(codec.dense_dtype),
        sparse_ids=ids,
        sparse_weights=(rng.random(terms) + 0.01).astype(np.float32),
        token_ids=np.arange(len(tokens), dtype=np.int32),
        codes=encode_tokens(tokens, codec),
        codec=codec,
    )


def pooled_rows(rng: np.random.Generator, id: str, *, chunks: int = 1) -> DocumentRows:
    """As `document_rows`, some tokens of each chunk in vectors together."""
    rows = document_rows(rng, id, chunks=chunks)
    return replace(rows, embeddings=[_pooled(rng, each) for each in rows.embeddings])


def _pooled(rng: np.random.Generator, row: Representation) -> Representation:
    vectors = -(-len(row.codes) // POOLED.pooling)
    groups = rng.permutation(np.arange(len(row.codes), dtype=np.int32) % vectors)
    return replace(row, codes=row.codes[:vectors], groups=groups)


def query(rng: np.random.Generator, *, terms: int = 6) -> Representation:
    return embedding(rng, codec=Codec.FP32, terms=terms)


def document_rows(
    rng: np.random.Generator,
    id: str,
    *,
    chunks: int = 1,
    word: str = "text",
    metadata: Mapping[str, Any] | None = None,
    tenant: str = "default",
    source: str = "default",
    terms: int = 6,
    codec: Codec = Codec.INT8,
) -> DocumentRows:
    text = " ".join(f"{word}-{i}" for i in range(chunks))
    document = Document(
        id, text, title=f"Title of {id}", metadata=metadata or {}, source=source, tenant=tenant
    )
    pieces = [
        Chunk(i, f"{word}-{i}", i, i + 1, heading=("Part", str(i)), page=i or None)
        for i in range(chunks)
    ]
    return DocumentRows(
        document,
        document.content_hash(),
        pieces,
        [embedding(rng, codec=codec, terms=terms) for _ in pieces],
    )


def key(id: str, *, tenant: str = "default", source: str = "default") -> DocumentKey:
    return DocumentKey(tenant, source, id)


def chunks_of(
    collection: Collection, found: Candidates, tenant: str = "default"
) -> list[StoredChunk]:
    """The texts of candidates."""
    ids = [chunk.row for chunk in found.rows.chunks]
    return list(collection.chunks(ids, tenant=tenant, snapshot=found.snapshot).values())
