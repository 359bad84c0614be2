"""What a collection of a given size needs: arithmetic alone, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from m3 import codec as codes
from m3.errors import InvalidInput
from m3.types import Codec

_TEXT_BYTES_PER_TOKEN = 5
"""English under XLM-R's tokenizer."""
_SPARSE_BYTES_PER_TERM = 8
_TOKEN_ID_BYTES = 4
_GROUP_BYTES = 4
"""Of a pooled token."""
_ROW_BYTES = 250
"""Five digests of 32 characters, positions, lengths, a checksum, short names."""
_KEY_BYTES = 8
_EMBEDDED_DENSE_BYTES = 4
"""Of a dimension, whatever the table's codec: fp32, as store/index/index.py has it."""
_SERVER_DENSE_BYTES = 2
"""fp16."""
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
    """Milvus memory of vectors, terms and keys with FLAT over fp32, the embedded engine's index."""
    hnsw_bytes: int
    """The same with HNSW, a server's, which keeps dense vectors in fp16."""
    embedding_hours: float


def row_parts(
    chunks: int, tokens: int, text_bytes: int, *, dimension: int, codec: Codec, pooling: int
) -> Mapping[str, int]:
    """Bytes of so many rows of the table with so many tokens in all, by what they are for.

    Every token counts as a sparse term of its own, so that the sparse part is an upper bound. The
    text is kept twice: as chunks, and in its document.
    """
    vectors = -(-tokens // pooling)
    ids = _TOKEN_ID_BYTES if pooling == 1 else _TOKEN_ID_BYTES + _GROUP_BYTES
    return {
        "dense": chunks * dimension * codec.dense_dtype.itemsize,
        "sparse": tokens * _SPARSE_BYTES_PER_TERM,
        "ColBERT": vectors * codes.width(dimension, codec) + tokens * ids,
        "text": 2 * text_bytes,
        "rest": chunks * _ROW_BYTES,
    }


def chunk_parts(load: Load) -> Mapping[str, int]:
    """`row_parts` of one average row."""
    return row_parts(
        1,
        load.tokens,
        load.tokens * _TEXT_BYTES_PER_TOKEN,
        dimension=load.dimension,
        codec=load.codec,
        pooling=load.pooling,
    )


def size(load: Load) -> Size:
    """Sparse parts are upper bounds, as in `row_parts`."""
    parts = chunk_parts(load)
    chunk = sum(parts.values())
    flat = load.dimension * _EMBEDDED_DENSE_BYTES + parts["sparse"] + _KEY_BYTES
    links = _HNSW_LINKS * _LINK_BYTES
    hnsw = load.dimension * _SERVER_DENSE_BYTES + parts["sparse"] + _KEY_BYTES + links
    return Size(
        chunk_bytes=chunk,
        table_bytes=load.chunks * chunk,
        uncleaned_bytes=2 * load.chunks * chunk,
        flat_bytes=load.chunks * flat,
        hnsw_bytes=load.chunks * hnsw,
        embedding_hours=load.chunks * load.tokens / (load.rate * load.nodes) / 3600,
    )
