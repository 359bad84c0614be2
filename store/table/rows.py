"""A row of the table as Arrow: one chunk with all that is known of it.

key          unique to this write of this chunk; rows never change under it
document     digest of (tenant, source, document_id), which stand beside it
write        names the write; every row of one document has the same
content_hash of the document, chunking included       text_hash  of what the model read
title, text, metadata (JSON), position, chunks, start, end, heading, page
original     the document's text, markdown  its form, pages  where they begin in it: in the
             first chunk's row, so that the document can be cut again
dense        fixed [d] fp16 (fp32 under `Codec.FP32`)
sparse_ids, sparse_weights, token_ids
codes        the ColBERT vectors as `m3.codec` writes them, [vectors * width] bytes
groups       where tokens are pooled: which vector each is in
checksum     xxh3-64 over the representations
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import xxhash

from m3.codec import width
from m3.errors import InvalidInput
from m3.types import (
    I64,
    Codec,
    Dense,
    Document,
    DocumentKey,
    EmbeddingBatch,
    Pooled,
    Representation,
    offsets_of,
    text_hash,
)
from store.chunks import ChunkKey, DocumentRows, StoredChunk
from store.spec import CollectionSpec

ROW_ID = "_rowid"
KEY_COLUMNS = ("tenant", "source", "document_id")
CHUNK_COLUMNS = (*KEY_COLUMNS, "position")
"""What says which chunk a row is."""

TEXT_COLUMNS = (
    *CHUNK_COLUMNS,
    "chunks",
    "start",
    "end",
    "heading",
    "page",
    "title",
    "text",
    "metadata",
)
ORIGINAL_COLUMNS = (
    "tenant",
    "source",
    "document_id",
    "title",
    "metadata",
    "original",
    "markdown",
    "pages",
)
FIRST_COLUMNS = ("dense", "sparse_ids", "sparse_weights")
"""Those that hold a representation without its tokens."""
EMBEDDING_COLUMNS = (*FIRST_COLUMNS, "token_ids", "codes")
"""Of rows whose tokens are not pooled."""
INDEX_COLUMNS = ("tenant", "metadata", "dense", "sparse_ids", "sparse_weights")


def embedding_columns(spec: CollectionSpec) -> Sequence[str]:
    """Those that hold the representations of rows of this spec."""
    return EMBEDDING_COLUMNS if spec.pooling == 1 else (*EMBEDDING_COLUMNS, "groups")


def schema(spec: CollectionSpec) -> pa.Schema:
    """The table's columns for rows of this spec."""
    dense = pa.float32() if spec.codec is Codec.FP32 else pa.float16()
    # Quantised vectors do not compress; trying to costs a third of the write rate.
    as_is = {"lance-encoding:compression": "none"}
    groups = [pa.field("groups", pa.list_(pa.int32()), nullable=False)]
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("document", pa.string(), nullable=False),
            pa.field("write", pa.string(), nullable=False),
            pa.field("content_hash", pa.string(), nullable=False),
            pa.field("text_hash", pa.string(), nullable=False),
            pa.field("tenant", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("document_id", pa.string(), nullable=False),
            pa.field("position", pa.int32(), nullable=False),
            pa.field("chunks", pa.int32(), nullable=False),
            pa.field("start", pa.int64(), nullable=False),
            pa.field("end", pa.int64(), nullable=False),
            pa.field("heading", pa.list_(pa.string()), nullable=False),
            pa.field("page", pa.int32()),
            pa.field("title", pa.string(), nullable=False),
            pa.field("text", pa.string(), nullable=False),
            pa.field("metadata", pa.string(), nullable=False),
            pa.field("original", pa.string()),
            pa.field("markdown", pa.bool_()),
            pa.field("pages", pa.list_(pa.int64())),
            pa.field("dense", pa.list_(dense, spec.dimension), nullable=False),
            pa.field("sparse_ids", pa.list_(pa.int32()), nullable=False),
            pa.field("sparse_weights", pa.list_(pa.float32()), nullable=False),
            pa.field("token_ids", pa.list_(pa.int32()), nullable=False),
            pa.field("codes", pa.large_binary(), nullable=False, metadata=as_is),
            *(groups if spec.pooling > 1 else []),
            pa.field("checksum", pa.uint64(), nullable=False),
        ]
    )


def to_arrow(documents: Sequence[DocumentRows], spec: CollectionSpec) -> pa.Table:
    """The rows of these documents, under one new write."""
    write = uuid.uuid4().hex
    whole: Any = schema(spec)
    rows = [row for document in documents for row in _document_rows(document, write, spec)]
    vectors = _embedding_arrays([e for document in documents for e in document.embeddings], spec)
    words: Any = pa.Table.from_pylist(
        rows, schema=pa.schema([field for field in whole if field.name not in vectors])
    )
    arrays = [vectors[name] if name in vectors else words.column(name) for name in whole.names]
    return pa.Table.from_arrays(arrays, schema=whole)


def _embedding_arrays(embeddings: Sequence[Representation], spec: CollectionSpec) -> dict[str, Any]:
    """The embedding columns: made row by row, as the others are, they take ten times as long."""
    if not embeddings:
        return {}
    made: Any = pa
    dense = np.concatenate([embedding.dense for embedding in embeddings])
    codes = [np.ascontiguousarray(embedding.codes).reshape(-1) for embedding in embeddings]
    buffers = [None, made.py_buffer(_offsets(codes)), made.py_buffer(np.concatenate(codes))]
    lists = [name for name in embedding_columns(spec) if name not in ("dense", "codes")]
    return {
        "dense": made.FixedSizeListArray.from_arrays(
            dense.astype(spec.codec.dense_dtype, copy=False),
            spec.dimension,
        ),
        **{name: _lists([getattr(each, name) for each in embeddings]) for name in lists},
        "codes": made.LargeBinaryArray.from_buffers(made.large_binary(), len(codes), buffers),
    }


def _lists(rows: Sequence[Any]) -> Any:
    made: Any = pa.ListArray
    return made.from_arrays(_offsets(rows).astype(np.int32), np.concatenate(rows))


def _offsets(rows: Sequence[Any]) -> I64:
    return offsets_of([len(row) for row in rows])


def _document_rows(rows: DocumentRows, write: str, spec: CollectionSpec) -> list[dict[str, Any]]:
    document = rows.document
    context = spec.chunking.context
    shared = {
        "document": document.key.digest(),
        "write": write,
        "content_hash": rows.content_hash,
        "tenant": document.tenant,
        "source": document.source,
        "document_id": document.id,
        "chunks": len(rows.chunks),
        "title": document.title,
        "metadata": orjson.dumps(dict(document.metadata)).decode(),
    }
    return [
        {
            **shared,
            "key": f"{write}-{shared['document']}-{chunk.position}",
            "text_hash": text_hash(chunk.model_text(document.title, context)),
            "position": chunk.position,
            "start": chunk.start,
            "end": chunk.end,
            "heading": list(chunk.heading),
            "page": chunk.page,
            "text": chunk.text,
            **(_original(document) if chunk.position == 0 else {}),
            "checksum": checksum(embedding),
        }
        for chunk, embedding in zip(rows.chunks, rows.embeddings, strict=True)
    ]


def _original(document: Document) -> dict[str, Any]:
    return {
        "original": document.text,
        "markdown": document.markdown,
        "pages": list(document.pages),
    }


def to_documents(table: pa.Table) -> list[Document]:
    """The documents whose first rows these are, of `ORIGINAL_COLUMNS`.

    Raises:
        InvalidInput: rows without the text, as format 1 had them.
    """
    return [_to_document(record) for record in table.to_pylist()]


def _to_document(record: dict[str, Any]) -> Document:
    if record.get("original") is None:
        raise InvalidInput(
            f"document {record['document_id']!r} of source {record['source']!r} was stored by a "
            "version that did not keep texts: ingest it again, then it can be cut anew"
        )
    return Document(
        id=record["document_id"],
        text=record["original"],
        title=record["title"],
        metadata=orjson.loads(record["metadata"]),
        source=record["source"],
        tenant=record["tenant"],
        markdown=record["markdown"],
        pages=tuple(record["pages"]),
    )


def checksum(embedding: Representation) -> int:
    """xxh3-64 over the bytes of the five columns, and of a pooled row's groups."""
    digest = xxhash.xxh3_64()
    for column in EMBEDDING_COLUMNS:
        digest.update(np.ascontiguousarray(getattr(embedding, column)).data)
    if embedding.groups is not None:
        digest.update(np.ascontiguousarray(embedding.groups).data)
    return digest.intdigest()


def corrupt(table: pa.Table, spec: CollectionSpec) -> list[int]:
    """Which rows, by their place, have representations that do not match their checksum."""
    pairs = zip(to_embeddings(table, spec), values(table, "checksum"), strict=True)
    return [i for i, (embedding, stored) in enumerate(pairs) if checksum(embedding) != stored]


def to_keys(table: pa.Table) -> list[ChunkKey]:
    """Which chunks the rows of a table are that has these columns and row ids."""
    columns = (values(table, name) for name in (ROW_ID, *CHUNK_COLUMNS))
    return [ChunkKey(*each) for each in zip(*columns, strict=True)]


def to_chunks(table: pa.Table) -> list[StoredChunk]:
    """Chunks of a table that has the text columns and row ids."""
    records = table.select([ROW_ID, *TEXT_COLUMNS]).to_pylist()
    for record in records:
        record["row"] = record.pop(ROW_ID)
        record["heading"] = tuple(record["heading"])
        record["metadata"] = orjson.loads(record["metadata"])
    return [StoredChunk(**record) for record in records]


def to_embeddings(table: pa.Table, spec: CollectionSpec) -> EmbeddingBatch:
    """The embedding columns as a batch; numbers are viewed in place where Arrow allows."""
    table = table.combine_chunks()
    first = to_first(table, spec)
    token_offsets, token_ids = ragged(table, "token_ids")
    ends, code_bytes = _binary(table, "codes")
    size = width(spec.dimension, spec.codec)
    pooled = None if spec.pooling == 1 else Pooled(ragged(table, "groups")[1], ends // size)
    return replace(
        first,
        token_offsets=token_offsets,
        token_ids=token_ids,
        codes=code_bytes.reshape(-1, size),
        tokens=np.diff(token_offsets).astype(np.int32),
        pooled=pooled,
    )


def to_first(table: pa.Table, spec: CollectionSpec) -> EmbeddingBatch:
    """`FIRST_COLUMNS` as a batch without tokens."""
    table = table.combine_chunks()
    sparse_offsets, sparse_ids = ragged(table, "sparse_ids")
    _, sparse_weights = ragged(table, "sparse_weights")
    return EmbeddingBatch(
        dense=dense_matrix(table),
        sparse_offsets=sparse_offsets,
        sparse_ids=sparse_ids,
        sparse_weights=sparse_weights,
        token_offsets=np.zeros(len(table) + 1, np.int64),
        token_ids=np.empty(0, np.int32),
        codes=np.empty((0, width(spec.dimension, spec.codec)), np.uint8),
        tokens=np.zeros(len(table), np.int32),
        truncated=np.zeros(len(table), np.bool_),
        codec=spec.codec,
        model=spec.model,
        fingerprint=spec.fingerprint,
    )


def values(table: pa.Table, name: str) -> list[Any]:
    """A column as Python values."""
    return table.column(name).to_pylist()


def document_key(record: dict[str, Any]) -> DocumentKey:
    """The key of a record that has tenant, source and document_id."""
    return DocumentKey(record["tenant"], record["source"], record["document_id"])


def _only_chunk(table: pa.Table, name: str) -> Any:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def dense_matrix(table: pa.Table) -> Dense:
    """The dense column, [rows, d]."""
    column = _only_chunk(table, "dense")
    return column.flatten().to_numpy().reshape(len(table), column.type.list_size)


def ragged(table: pa.Table, name: str) -> tuple[I64, Any]:
    """Offsets [rows+1] from 0, and values, of a list column."""
    column = _only_chunk(table, name)
    lengths = column.value_lengths().to_numpy()
    return offsets_of(lengths), column.flatten().to_numpy()


def _binary(table: pa.Table, name: str) -> tuple[I64, Any]:
    """Offsets [rows+1] from 0, and the bytes of a binary column, in place."""
    column = _only_chunk(table, name)
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return ends - ends[0], np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
