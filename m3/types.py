"""The values that travel between rooms: frozen, slotted, and nothing but data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
I32: TypeAlias = NDArray[np.int32]
I64: TypeAlias = NDArray[np.int64]
U8: TypeAlias = NDArray[np.uint8]
Dense: TypeAlias = NDArray[np.float16 | np.float32]
Metadata: TypeAlias = Mapping[str, Any]
"""What a source says of a document: JSON values by name."""

Kind = Literal["query", "passage"]
Output = Literal["dense", "sparse", "colbert"]
Context = Literal["none", "title", "headings"]
"""What the model reads of a document before a chunk of it."""
Tenancy = Literal["shared", "own"]
"""Whether a collection is for any number of tenants, or for one alone."""

OUTPUTS: tuple[Output, ...] = ("dense", "sparse", "colbert")

DEFAULT_TENANT = "default"
DEFAULT_SOURCE = "default"


class Codec(StrEnum):
    """How ColBERT vectors are written down; `m3.codec` has the layouts.

    `FP32` keeps the dense vector in fp32 too; the others carry it in fp16.
    """

    INT8 = "int8"
    BF16 = "bf16"
    FP32 = "fp32"

    @property
    def dense_dtype(self) -> np.dtype[np.float16] | np.dtype[np.float32]:
        return np.dtype(np.float32) if self is Codec.FP32 else np.dtype(np.float16)


@dataclass(frozen=True, slots=True, order=True)
class DocumentKey:
    """What makes a document the same document: its tenant, its source, its id there."""

    tenant: str
    source: str
    id: str

    def digest(self) -> str:
        """32 hexadecimal digits: bounded, quotable, equal for equal keys."""
        return _digest([self.tenant, self.source, self.id])


@dataclass(frozen=True, slots=True)
class Document:
    """A text as its source has it, before it is cut into chunks.

    Attributes:
        markdown: whether the text has headings and fences rather than plain paragraphs.
        pages: where each page of a paged source begins in `text`; empty without pages.
    """

    id: str
    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict[str, Any])
    source: str = DEFAULT_SOURCE
    tenant: str = DEFAULT_TENANT
    markdown: bool = False
    pages: tuple[int, ...] = ()

    @property
    def key(self) -> DocumentKey:
        return DocumentKey(self.tenant, self.source, self.id)

    def content_hash(self) -> str:
        """Equal when title, text, metadata and what is known of the text's form are equal."""
        form = [self.markdown, self.pages]
        return _digest([self.title, self.text, dict(self.metadata), form])


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document: `document.text[start:end]`, and where that is.

    Attributes:
        heading: the headings that what it does not share with the chunk before stands under.
        page: where that begins, counted from 1; None without pages.
    """

    position: int
    text: str
    start: int
    end: int
    heading: tuple[str, ...] = ()
    page: int | None = None

    def model_text(self, title: str, context: Context = "title") -> str:
        """What the model reads of this chunk."""
        return model_text(context_of(title, self.heading, context), self.text)


def context_of(title: str, heading: Sequence[str], context: Context) -> str:
    """What stands before a passage for the model; a heading that is the title stands once."""
    match context:
        case "none":
            return ""
        case "title":
            return title
        case "headings":
            return " > ".join(dict.fromkeys(part for part in (title, *heading) if part))


def model_text(context: str, text: str) -> str:
    """A passage with its context, where there is one, before it."""
    return f"{context}\n{text}" if context else text


def text_hash(text: str) -> str:
    """Names a text by its content, so that stored vectors can be found again."""
    return _digest([text])


def _digest(parts: list[Any]) -> str:
    """blake2b-128 over canonical JSON: unambiguous between the parts, equal on every machine."""
    canonical = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Representation:
    """One text as the model sees it: a row of an `EmbeddingBatch`.

    Attributes:
        dense: [d], fp16 or fp32, L2-normalised.
        sparse_ids: [s] int32 vocabulary ids, ascending, without special tokens.
        sparse_weights: [s] fp32, all > 0; not normalised.
        token_ids: [t] int32, the tokens behind the ColBERT vectors.
        codes: [v, width] uint8, the ColBERT vectors as `codec` writes them; v is t unless pooled.
        groups: [t] int32, which vector each token is in, where tokens are pooled; None: its own.
    """

    dense: Dense
    sparse_ids: I32
    sparse_weights: F32
    token_ids: I32
    codes: U8
    codec: Codec
    groups: I32 | None = None

    def codes_by_token(self) -> U8:
        """[t, width] uint8: for each token the vector that it is in."""
        return self.codes if self.groups is None else self.codes[self.groups]


@dataclass(frozen=True, slots=True)
class Pooled:
    """Which tokens of a batch share a vector.

    Attributes:
        groups: [T] int32, as a row's.
        offsets: [n+1] int64: row i has the vectors `[offsets[i]:offsets[i+1]]`.
    """

    groups: I32
    offsets: I64


@dataclass(frozen=True, slots=True)
class EmbeddingBatch:
    """The three representations of n texts as columns; row i is `[offsets[i]:offsets[i+1]]`.

    Columns that were not asked of the model are empty: dense [n, 0], no sparse
    terms, no tokens.

    Attributes:
        dense: [n, d] fp16 (fp32 under `Codec.FP32`).
        sparse_offsets: [n+1] int64; sparse_ids: [nnz] int32; sparse_weights: [nnz] fp32.
        token_offsets: [n+1] int64; token_ids: [T] int32.
        codes: [V, width] uint8, row i's from `code_offsets`; V is T unless pooled.
        tokens: [n] int32, tokens the model read, special ones included.
        truncated: [n] bool, whether the text was longer than the model read.
        fingerprint: which model made this (see `embedder.model.checkpoint`).
        pooled: where tokens share vectors; None: each has its own.
    """

    dense: Dense
    sparse_offsets: I64
    sparse_ids: I32
    sparse_weights: F32
    token_offsets: I64
    token_ids: I32
    codes: U8
    tokens: I32
    truncated: NDArray[np.bool_]
    codec: Codec
    model: str = ""
    fingerprint: str = ""
    pooled: Pooled | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def code_offsets(self) -> I64:
        """[n+1] int64: where each row's vectors begin and end."""
        return self.token_offsets if self.pooled is None else self.pooled.offsets

    def row(self, i: int) -> Representation:
        """Views of row i; nothing is copied."""
        sparse = slice(int(self.sparse_offsets[i]), int(self.sparse_offsets[i + 1]))
        tokens = slice(int(self.token_offsets[i]), int(self.token_offsets[i + 1]))
        codes = slice(int(self.code_offsets[i]), int(self.code_offsets[i + 1]))
        return Representation(
            dense=self.dense[i],
            sparse_ids=self.sparse_ids[sparse],
            sparse_weights=self.sparse_weights[sparse],
            token_ids=self.token_ids[tokens],
            codes=self.codes[codes],
            codec=self.codec,
            groups=None if self.pooled is None else self.pooled.groups[tokens],
        )

    def __iter__(self) -> Iterator[Representation]:
        return (self.row(i) for i in range(len(self)))


Passages: TypeAlias = EmbeddingBatch | Sequence[Representation]
"""What is scored together: columns, or rows that lie apart, one at least; of one codec."""


def batch_of(
    rows: Sequence[Representation],
    *,
    colbert: bool = True,
    tokens: I32 | None = None,
    truncated: NDArray[np.bool_] | None = None,
    model: str = "",
    fingerprint: str = "",
) -> EmbeddingBatch:
    """Columns from rows of one codec; the opposite of `EmbeddingBatch.row`.

    Args:
        colbert: whether with token vectors; else the batch has no tokens.

    Raises:
        ValueError: no rows (an empty batch has no widths), codecs differ, or some are pooled.
    """
    if not rows:
        raise ValueError("a batch needs at least one row")
    codecs = {row.codec for row in rows}
    if len(codecs) != 1:
        raise ValueError(f"rows of one batch have one codec, not {sorted(codecs)}")
    late = rows if colbert else ()
    return EmbeddingBatch(
        dense=np.concatenate([row.dense for row in rows]).reshape(len(rows), -1),
        sparse_offsets=offsets_of([len(row.sparse_ids) for row in rows]),
        sparse_ids=np.concatenate([row.sparse_ids for row in rows]),
        sparse_weights=np.concatenate([row.sparse_weights for row in rows]),
        token_offsets=offsets_of([len(row.token_ids) if colbert else 0 for row in rows]),
        token_ids=np.concatenate([rows[0].token_ids[:0], *(row.token_ids for row in late)]),
        codes=np.concatenate([rows[0].codes[:0], *(row.codes for row in late)]),
        tokens=tokens
        if tokens is not None
        else np.array([len(row.token_ids) for row in rows], np.int32),
        truncated=truncated if truncated is not None else np.zeros(len(rows), np.bool_),
        codec=rows[0].codec,
        model=model,
        fingerprint=fingerprint,
        pooled=_pooled(late),
    )


def _pooled(rows: Sequence[Representation]) -> Pooled | None:
    groups = [row.groups for row in rows if row.groups is not None]
    if not groups:
        return None
    if len(groups) != len(rows):
        raise ValueError("rows of one batch are pooled, all or none")
    return Pooled(np.concatenate(groups), offsets_of([len(row.codes) for row in rows]))


def offsets_of(lengths: Sequence[int]) -> I64:
    """[n+1] int64: where each of n runs of the given lengths begins and ends."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a node says of its model.

    Attributes:
        fingerprint: weights + heads + pooling + tokenizer; equal means the same vectors.
        precision: the arithmetic; recorded beside the fingerprint, not part of it.
        dimension: of the dense and of the ColBERT vectors.
        max_tokens: what one text may have, special tokens included.
        stand_in: whether this is the English-only stand-in rather than a model to rely on.
    """

    id: str
    fingerprint: str
    precision: str
    dimension: int
    max_tokens: int
    stand_in: bool = False
