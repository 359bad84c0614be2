"""What compacting changes: files, versions, bytes on disk, and what it takes to read rows.

`take` reads 200 rows by their ids, as a search does; `look` looks for 256 documents that are not
there, as a run does.
"""

from __future__ import annotations

import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench.chunks import write_chunks
from bench.measure import Result, interleaved, timed
from m3.types import DocumentKey
from store.table.rows import EMBEDDING_COLUMNS
from store.table.table import Table

_DIMENSION = 1024
_TAKEN = 200
_LOOKED_FOR = 256
_REPEATS = 20


def run(
    *,
    writes: Annotated[int, typer.Option(help="Commits, each a small file.", min=2)] = 128,
    chunks: Annotated[int, typer.Option(help="A commit.", min=1)] = 256,
    tokens: Annotated[int, typer.Option(help="A chunk.", min=1)] = 32,
) -> Result:
    """A table as a run leaves it, compacted, and rid of the versions before."""
    with tempfile.TemporaryDirectory() as folder:
        table = write_chunks(
            Path(folder), writes * chunks, tokens, _DIMENSION, at_once=chunks
        ).table
        figures = [_figure("as it was written", table)]
        started = time.perf_counter()
        table.compact()
        took = time.perf_counter() - started
        figures.append(_figure("compacted", table))
        table.clean(timedelta(0), table.latest_number())
        figures.append(_figure("older versions cleaned", table))
    notes = {"rows": writes * chunks, "tokens": tokens, "seconds to compact": round(took, 1)}
    return Result("compaction", figures, notes)


def _figure(what: str, table: Table) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    ids = table.latest().row_ids
    strangers = [DocumentKey("-", "-", str(n)).digest() for n in range(_LOOKED_FOR)]

    def take() -> object:
        some = rng.choice(ids, _TAKEN, replace=False).tolist()
        return table.latest().take(some, EMBEDDING_COLUMNS)

    def look() -> object:
        return table.latest().of_documents(strangers, ["content_hash"])

    took = interleaved({"take": timed(take), "look": timed(look)}, repeats=_REPEATS)
    files = [file for file in Path(table.uri).rglob("*") if file.is_file()]
    return {
        "what": what,
        "files of rows": table.fragments(),
        "versions": sum(file.suffix == ".manifest" for file in files),
        "MB on disk": round(sum(file.stat().st_size for file in files) / 2**20),
        **{f"{each.name} ms": round(1e3 * each.median_wall, 1) for each in took},
        **{f"{each.name} cpu ms": round(1e3 * each.median_cpu, 1) for each in took},
    }
