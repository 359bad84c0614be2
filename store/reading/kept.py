"""What searches keep in memory of a process's tables: vectors of candidates, texts of hits."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import orjson

from m3.types import Representation
from store.chunks import ChunkKey, StoredChunk
from store.reading.row_cache import RowCache
from store.table.rows import EMBEDDING_COLUMNS

_OBJECTS_BYTES = 2_000
"""Of the objects that hold a row, beside its numbers and texts."""
_DENSE_BYTES = np.dtype(np.float32).itemsize
_PARSED = 8
"""Times the bytes of metadata as JSON that they take as objects."""
_TEXTS_SHARE = 32
"""One part in so many of the budget is for texts: a row of 120 tokens is 126 KB, its text 3 KB."""

_ARRAYS = (*EMBEDDING_COLUMNS, "groups")
"""What a representation may hold."""


@dataclass(frozen=True, slots=True)
class Row:
    """Which chunk it is, with its representations."""

    chunk: ChunkKey
    embedding: Representation

    @property
    def id(self) -> int:
        return self.chunk.row

    def owned(self) -> Row:
        """With arrays of its own: views would keep all that was read with them.

        The dense vector is fp32: to widen halves is most of what a dense score takes.
        """
        copies = {name: array.copy() for name, array in self._arrays().items()}
        copies["dense"] = self.embedding.dense.astype(np.float32)
        return Row(self.chunk, replace(self.embedding, **copies))

    def bytes(self) -> int:
        """Of such a row."""
        dense = self.embedding.dense
        arrays = sum(array.nbytes for array in self._arrays().values())
        return _OBJECTS_BYTES + arrays - dense.nbytes + dense.size * _DENSE_BYTES

    def _arrays(self) -> dict[str, Any]:
        arrays = {name: getattr(self.embedding, name) for name in _ARRAYS}
        return {name: array for name, array in arrays.items() if array is not None}


@dataclass(frozen=True, slots=True)
class Text:
    """A chunk as hits show it."""

    chunk: StoredChunk

    @property
    def id(self) -> int:
        return self.chunk.row

    def owned(self) -> Self:
        return self

    def bytes(self) -> int:
        chunk = self.chunk
        texts = sum(map(sys.getsizeof, (chunk.title, chunk.text, *chunk.heading)))
        return _OBJECTS_BYTES + texts + _PARSED * len(orjson.dumps(chunk.metadata))


class Hot:
    """The vectors and the texts that were read last, within one budget."""

    def __init__(self, budget: int) -> None:
        """`budget`: bytes; 0 keeps nothing."""
        texts = budget // _TEXTS_SHARE
        self.vectors = RowCache[Row](budget - texts)
        self.texts = RowCache[Text](texts)
