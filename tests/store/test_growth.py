"""What a write takes as the table grows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from m3.types import Codec
from store.chunks import DocumentRows
from store.table.rows import to_arrow
from store.table.table import Table
from tests.store.examples import SPEC, document_rows, key

ROOT = Path(__file__).parents[2]
WIDE = replace(SPEC, dimension=4096, codec=Codec.FP32)
"""A row's dense vector is 16 KB."""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_write_takes_no_more_memory_in_a_large_table(tmp_path: Path):
    few, many = (_peak_mb(_table(tmp_path / f"{rows}.lance", rows)) for rows in (100, 8_000))
    assert many - few < 50, "of a table that is 126 MB larger"


def _peak_mb(table: Table) -> int:
    command = [sys.executable, "-m", "tests.store.peak", table.uri]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


def _table(path: Path, rows: int) -> Table:
    """Documents d0, d1 … of one row each; all but their names is the same."""
    row = to_arrow([wide_rows(np.random.default_rng(1), "d")], WIDE)
    all_rows: Any = pa.concat_tables([row] * rows).combine_chunks()
    digests = [key(f"d{number}").digest() for number in range(rows)]
    for name in ("document", "key"):
        place = all_rows.schema.get_field_index(name)
        all_rows = all_rows.set_column(place, all_rows.schema.field(place), pa.array(digests))
    table = Table(str(path))
    table.create_of(all_rows)
    return table


def wide_rows(rng: np.random.Generator, id: str) -> DocumentRows:
    """A document of one chunk, for `WIDE`."""
    made = document_rows(rng, id, codec=Codec.FP32)
    dense = rng.standard_normal(WIDE.dimension).astype(np.float32)
    return replace(made, embeddings=[replace(each, dense=dense) for each in made.embeddings])
