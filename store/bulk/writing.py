"""Rows of the table as Parquet files that a Milvus server imports."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pymilvus import MilvusException

from m3.errors import StorageFull, StoredDataError
from store.bulk.extra import bulk_writer
from store.bulk.files import Files
from store.bulk.manifest import File
from store.index.index import KEY, index_schema, records
from store.spec import CollectionSpec

FILE_BYTES = 32 << 20
"""Of rows, as pymilvus counts them, before they become a file: they are Python objects until then,
and a process that writes takes a gigabyte (`python -m bench bulk`)."""


def write_files(
    rows: Iterable[pa.Table], spec: CollectionSpec, files: Files, advance: Callable[[int], None]
) -> tuple[File, ...]:
    """Write rows, of `INDEX_COLUMNS` and ids, as Parquet files in their order.

    Args:
        advance: told how many rows were taken in.

    Raises:
        StorageFull: a file could not be written.
        StoredDataError: a row is none that Milvus takes.
        InvalidConfiguration: the extra is not installed.
    """
    written: list[File] = []
    with files.drafts() as drafts:
        writer = _writer(spec, drafts)
        for some in rows:
            for record in records(some, spec):
                _append(writer, record)
            if writer.buffer_size >= FILE_BYTES:
                written.append(_file(writer, files, len(written)))
            advance(len(some))
        if writer.buffer_row_count:
            written.append(_file(writer, files, len(written)))
    return tuple(written)


def _writer(spec: CollectionSpec, folder: str) -> Any:
    module = bulk_writer()
    return module.LocalBulkWriter(
        schema=index_schema(spec),
        local_path=folder,
        # Files are ended here, each with its errors, not behind our back.
        chunk_size=sys.maxsize,
        file_type=module.BulkFileType.PARQUET,
    )


def _append(writer: Any, record: dict[str, Any]) -> None:
    try:
        writer.append_row(record)
    except MilvusException as error:
        raise StoredDataError(f"row {record[KEY]} is none that Milvus takes: {error}") from error


def _file(writer: Any, files: Files, number: int) -> File:
    """End the file that is being written."""
    rows: int = writer.buffer_row_count
    with _failed_threads() as failed:
        writer.commit()
    if failed:
        raise StorageFull(f"cannot write a file for {files.address}: {failed[0]}") from failed[0]
    name = f"{number:06}.parquet"
    return File(name, rows, files.put(name, Path(writer.batch_files[-1][0])))


@contextmanager
def _failed_threads() -> Generator[list[BaseException]]:
    """What ended threads meanwhile: the writer writes in one, and drops its errors."""
    failed: list[BaseException] = []

    def keep(ended: threading.ExceptHookArgs) -> None:
        failed.append(ended.exc_value or ended.exc_type())

    before, threading.excepthook = threading.excepthook, keep
    try:
        yield failed
    finally:
        threading.excepthook = before
