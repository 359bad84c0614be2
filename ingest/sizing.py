"""What a collection of a given size needs: arithmetic alone, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from m3 import codec as codes
from m3.errors import InvalidInput
from m3.types import Codec

_TEXT_BYTES_PER_TOKEN = 5
"""English under XLM-R's tokenizer. The text is kept twice: as a chunk, and in its document."""
_SPARSE_BYTES_PER_TERM = 8
_TOKEN_ID_BYTES = 4
_GROUP_BYTES = 4
"""Of a pooled token."""
_ROW_BYTES = 250
"""Five digests of 32 characters, positions, lengths, a checksum, short names."""
_FP16 = 2
_LINK_BYTES = 4
_HNSW_LINKS = 2 * 30
"""Neighbours of a vector in HNSW's lowest layer: twice `M` of store/index/index.py."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be stored, and by what it is embedded.

    Raises:
        InvalidInput: a number that is not above zero.
    """

    chunks: int
    tokens: int
    """Of a chunk, on average."""
    codec: Codec = Codec.INT8
    dimension: int = 1024
    nodes: int = 1
    rate: float = 306.0
    """Tokens a second that one node embeds."""
    pooling: int = 1
    """Tokens for which one ColBERT vector is kept."""

    def __post_init__(self) -> None:
        for name in ("chunks", "tokens", "dimension", "nodes", "rate", "pooling"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InvalidInput(f"--{name} must be a number above 0")


@dataclass(frozen=True, slots=True)
class Size:
    """What a load needs. Bytes are bytes, times are hours."""

    chunk_bytes: int
    """One row of the table."""
    table_bytes: int
    uncleaned_bytes: int
    """Of the table where all of it was compacted and no older version was cleaned yet: each row
    lies in the file of its write, too."""
    flat_bytes: int
    """Milvus memory of vectors, terms and keys with FLAT, the embedded engine's index."""
    hnsw_bytes: int
    """The same with HNSW, a server's."""
    embedding_hours: float


def vector_bytes(chunks: int, tokens: int, dimension: int, codec: Codec, pooling: int = 1) -> int:
    """Dense vectors of so many chunks and ColBERT codes, with their token ids, of all tokens."""
    dense = dimension * codec.dense_dtype.itemsize
    vectors = -(-tokens // pooling)
    ids = _TOKEN_ID_BYTES if pooling == 1 else _TOKEN_ID_BYTES + _GROUP_BYTES
    return chunks * dense + vectors * codes.width(dimension, codec) + tokens * ids


def chunk_parts(load: Load) -> Mapping[str, int]:
    """Bytes of one row of the table, by what they are for.

    Every token counts as a sparse term of its own, so that the sparse part is an upper bound.
    """
    dense = vector_bytes(1, 0, load.dimension, load.codec)
    return {
        "dense": dense,
        "sparse": load.tokens * _SPARSE_BYTES_PER_TERM,
        "ColBERT": vector_bytes(1, load.tokens, load.dimension, load.codec, load.pooling) - dense,
        "text": 2 * load.tokens * _TEXT_BYTES_PER_TOKEN,
        "rest": _ROW_BYTES,
    }


def size(load: Load) -> Size:
    """Sparse parts are upper bounds, as in `chunk_parts`."""
    parts = chunk_parts(load)
    chunk = sum(parts.values())
    key = 8
    flat = load.dimension * _FP16 + parts["sparse"] + key
    return Size(
        chunk_bytes=chunk,
        table_bytes=load.chunks * chunk,
        uncleaned_bytes=2 * load.chunks * chunk,
        flat_bytes=load.chunks * flat,
        hnsw_bytes=load.chunks * (flat + _HNSW_LINKS * _LINK_BYTES),
        embedding_hours=load.chunks * load.tokens / (load.rate * load.nodes) / 3600,
    )
