"""A copy of `docs`, and what tells whether it is one."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np

from m3.settings import Settings
from store.contract import Collection
from store.copying import Copied, Published
from store.opening import collections_at, copying_to
from tests.store.examples import chunks_of, query

numbers = itertools.count()


def silent(_: int) -> None:
    pass


def copied(settings: Settings, new: str, on_rows: Any = silent) -> Copied:
    """`docs` once more, beside itself."""
    with copying_to(settings) as target:
        return target.write(published(settings), new, on_rows)


def published(settings: Settings) -> Published:
    return Published.of(collections_at(settings.tables_path), "docs")


def answers(collection: Collection, tenant: str = "t0") -> list[Any]:
    """What a search can tell of a collection, but for its row ids."""
    found = collection.candidates(
        query(np.random.default_rng(5)), legs=["dense", "sparse"], depth=40, tenant=tenant
    )
    chunks = {chunk.row: chunk for chunk in chunks_of(collection, found, tenant)}
    rows = zip(found.rows.chunks, found.rows.embeddings, strict=True)
    vectors = {chunk.row: own for chunk, own in rows}
    return [
        [
            (
                dataclasses.replace(chunks[row], row=0),
                vectors[row].dense.tobytes(),
                vectors[row].codes.tobytes(),
            )
            for row in ids
        ]
        for ids in found.legs.values()
    ]


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
