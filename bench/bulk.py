"""Files for a Milvus server's import beside the upserts that they stand in for, row by row."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.measure import Result
from m3.codec import encode_tokens
from m3.settings import Settings, load_settings
from m3.types import Chunk, Codec, Document, Representation
from store.chunks import DocumentRows
from store.filters import FieldType
from store.index.engine import Engine
from store.opening import open_store
from store.spec import CollectionSpec

_DIMENSION, _VOCABULARY, _TOKENS = 1_024, 250_000, 2
_AT_ONCE = 2_000
_SPEC = CollectionSpec("random", "0", "fp32", _DIMENSION, fields={"lang": FieldType.STRING})


def run(
    *,
    rows: Annotated[int, typer.Option(min=_AT_ONCE)] = 60_000,
    terms: Annotated[int, typer.Option(help="Sparse terms of a row.", min=1)] = 120,
) -> Result:
    """Rows a second, this process's CPU ms a row and its memory, beside the embedded Milvus's."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(home=Path(folder))
        try:
            _fill(settings, rows, terms)
            figures, size = _figures(settings, rows, Path(folder) / "files")
        finally:
            Engine.of(settings).stop()
    notes = {"rows": rows, "terms": terms, "bytes a row in the files": size}
    return Result("bulk", figures, {**notes, "dimension": _DIMENSION})


def _fill(settings: Settings, rows: int, terms: int) -> None:
    rng = np.random.default_rng(0)
    store = open_store(settings, defer_index=True)
    collection = store.create("bulk", _SPEC)
    for first in range(0, rows, _AT_ONCE):
        some = range(first, min(rows, first + _AT_ONCE))
        collection.replace([_document(rng, number, terms) for number in some])
    store.close()


def _document(rng: np.random.Generator, number: int, terms: int) -> DocumentRows:
    document = Document(f"d{number}", "text", metadata={"lang": "en"})
    ids = rng.choice(_VOCABULARY, terms, replace=False).astype(np.int32)
    embedding = Representation(
        dense=rng.standard_normal(_DIMENSION).astype(np.float16),
        sparse_ids=np.sort(ids),
        sparse_weights=(rng.random(terms) + 0.01).astype(np.float32),
        token_ids=np.arange(_TOKENS, dtype=np.int32),
        codes=encode_tokens(np.ones((_TOKENS, _DIMENSION), np.float32), Codec.INT8),
        codec=Codec.INT8,
    )
    return DocumentRows(document, document.content_hash(), [Chunk(0, "text", 0, 4)], [embedding])


def _figures(settings: Settings, rows: int, files: Path) -> tuple[list[dict[str, Any]], float]:
    figures: list[dict[str, Any]] = []

    @contextmanager
    def measured(what: str, total: int) -> Generator[Callable[[int], None]]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield lambda _: None
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        figures.append(
            {"what": what, "rows/s": total / wall, "CPU ms/row": cpu / total * 1e3, "peak MB": peak}
        )

    store = open_store(settings)
    manifest = store.bulk("bulk").write(str(files), measured)
    with measured("upserting", rows):
        store.open("bulk").replace([])
    store.close()
    return figures, manifest.bytes / manifest.rows
