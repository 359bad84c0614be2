"""What a collection holds, written to a file: documents as they were given, chunks with vectors.

A file of documents is read back by `ingest.sources` to equal content hashes.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from m3.errors import InvalidConfiguration, StorageFull
from m3.types import I64, Codec, Document, EmbeddingBatch
from store.chunks import Rows, StoredChunk
from store.spec import CollectionSpec

Format = Literal["jsonl", "parquet"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_JSON = pa.json_(pa.string())
_DOCUMENT: Sequence[tuple[str, pa.DataType]] = (
    ("_id", pa.string()),
    ("title", pa.string()),
    ("text", pa.string()),
    ("markdown", pa.bool_()),
    ("pages", pa.list_(pa.int64())),
    ("metadata", _JSON),
)
_CHUNK: Sequence[tuple[str, pa.DataType]] = (
    ("chunk_id", pa.string()),
    ("document_id", pa.string()),
    ("position", pa.int32()),
    ("title", pa.string()),
    ("text", pa.string()),
    ("start", pa.int64()),
    ("end", pa.int64()),
    ("heading", pa.list_(pa.string())),
    ("page", pa.int32()),
    ("metadata", _JSON),
)


def format_of(file: Path) -> Format:
    """By the file's ending."""
    return "parquet" if file.suffix.lower() in (".parquet", ".pq") else "jsonl"


def write_documents(file: Path, documents: Iterable[Sequence[Document]], form: Format) -> int:
    """Write documents, some at a time; the file is there once it is complete.

    Returns:
        How many there were.

    Raises:
        StorageFull: no room left for it.
        InvalidConfiguration: it cannot be written.
    """
    with _whole(file) as stream:
        return _WRITERS[form](stream, documents)


def write_vectors(file: Path, rows: Iterable[Rows], spec: CollectionSpec) -> int:
    """Write chunks with their representations to Parquet, a row each; otherwise the same.

    dense is [d] fp16 (fp32 under `Codec.FP32`); codes are the [vectors, width] bytes that
    `m3.codec` describes; groups, in a pooled collection alone, say which of them each token is in.
    Of which model and codec they are stands in the file's metadata, as `m3.…`.
    """
    dense = pa.float32() if spec.codec is Codec.FP32 else pa.float16()
    vectors = [
        ("dense", pa.list_(dense, spec.dimension)),
        ("sparse_ids", pa.list_(pa.int32())),
        ("sparse_weights", pa.list_(pa.float32())),
        ("token_ids", pa.list_(pa.int32())),
        ("codes", pa.large_binary()),
        *([("groups", pa.list_(pa.int32()))] if spec.pooling > 1 else []),
    ]
    made_by: dict[str | bytes, str | bytes] = {
        "m3.model": spec.model,
        "m3.fingerprint": spec.fingerprint,
        "m3.precision": spec.precision,
        "m3.codec": spec.codec.value,
        "m3.context": spec.chunking.context,
        "m3.pooling": str(spec.pooling),
    }
    schema = pa.schema([*_CHUNK, *vectors], metadata=made_by)
    with _whole(file) as stream:
        tables = (
            _chunk_table(some.chunks, some.embeddings, schema)
            for some in rows
            if some.embeddings is not None
        )
        return _write_parquet(stream, schema, tables)


def _jsonl(stream: BinaryIO, documents: Iterable[Sequence[Document]]) -> int:
    written = 0
    for some in documents:
        for document in some:
            record = {**_record(document), "metadata": dict(document.metadata)}
            stream.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        written += len(some)
    return written


def _parquet(stream: BinaryIO, documents: Iterable[Sequence[Document]]) -> int:
    schema = pa.schema(_DOCUMENT)
    tables = (
        pa.Table.from_pylist(
            [{**_record(each), "metadata": _json(each.metadata)} for each in some], schema=schema
        )
        for some in documents
    )
    return _write_parquet(stream, schema, tables)


_WRITERS = {"jsonl": _jsonl, "parquet": _parquet}


def _record(document: Document) -> dict[str, Any]:
    return {
        "_id": document.id,
        "title": document.title,
        "text": document.text,
        "markdown": document.markdown,
        "pages": document.pages,
    }


def _json(value: Any) -> str:
    return orjson.dumps(dict(value)).decode()


def _chunk_table(
    chunks: Sequence[StoredChunk], embeddings: EmbeddingBatch, schema: pa.Schema
) -> pa.Table:
    words = pa.Table.from_pylist(
        [_chunk_record(chunk) for chunk in chunks], schema=pa.schema(_CHUNK)
    )
    return pa.Table.from_arrays([*words.columns, *_vector_arrays(embeddings)], schema=schema)


def _chunk_record(chunk: StoredChunk) -> dict[str, Any]:
    same = ("document_id", "position", "title", "text", "start", "end", "heading", "page")
    return {
        "chunk_id": chunk.id,
        **{name: getattr(chunk, name) for name in same},
        "metadata": _json(chunk.metadata),
    }


def _vector_arrays(batch: EmbeddingBatch) -> list[Any]:
    """The columns as they are, without a Python object for each number."""
    made: Any = pa
    code_bytes = batch.code_offsets * batch.codes.shape[1]
    pooled = [] if batch.pooled is None else [_lists(batch.token_offsets, batch.pooled.groups)]
    buffers = [None, made.py_buffer(code_bytes), made.py_buffer(batch.codes.reshape(-1))]
    return [
        made.FixedSizeListArray.from_arrays(batch.dense.reshape(-1), batch.dense.shape[1]),
        _lists(batch.sparse_offsets, batch.sparse_ids),
        _lists(batch.sparse_offsets, batch.sparse_weights),
        _lists(batch.token_offsets, batch.token_ids),
        made.LargeBinaryArray.from_buffers(made.large_binary(), len(batch), buffers),
        *pooled,
    ]


def _lists(offsets: I64, values: Any) -> Any:
    made: Any = pa.ListArray
    return made.from_arrays(offsets.astype(np.int32), values)


def _write_parquet(stream: BinaryIO, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    written = 0
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
            written += len(table)
    return written


@contextmanager
def _whole(file: Path) -> Generator[BinaryIO]:
    """A file that gets its name once all of it is on the disk."""
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        with draft.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.rename(file)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull(
                f"there is no room left for {file}: free some and run this again, or name a file "
                "on another disk"
            ) from error
        raise InvalidConfiguration(f"cannot write {file}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
