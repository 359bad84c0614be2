"""What every store refuses, so that the embedded engine takes nothing a server would not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import orjson

from m3.codec import width
from m3.errors import InvalidInput, NotFound
from m3.types import Representation
from scoring.fusion import FUSING, Method
from store.chunks import DocumentRows
from store.filters import field_values
from store.reports import Defaults
from store.spec import CollectionSpec

MAX_ID_BYTES = 512
MAX_VARCHAR_BYTES = 65_535
MAX_METADATA_BYTES = 65_536
MAX_ARRAY_ITEMS = 4_096
MAX_FIELDS = 24
"""Each declared field takes two of a Milvus schema's 64."""
MAX_POOLING = 4
"""Beyond it rankings suffer (docs/quality.md)."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def check_name(name: str) -> None:
    """Raises InvalidInput for a collection name that is not allowed."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"collection name {name!r}: letters, digits, '-' and '_' only, 1 to 64 of them"
        )


def check_defaults(defaults: Defaults) -> None:
    """Raises InvalidInput for weights that make a method another one, or a depth that is none."""
    if defaults.rerank_depth is not None and defaults.rerank_depth < 1:
        raise InvalidInput(f"rerank_depth must be at least 1, got {defaults.rerank_depth}")
    for method, chosen in defaults.weights.items():
        if method not in FUSING:
            raise InvalidInput(f"{method} has no weights to save: {' and '.join(FUSING)} have")
        if method is Method.DENSE_SPARSE and chosen.colbert:
            raise InvalidInput(f"{method} has no ColBERT scores to weigh: {Method.FUSION} has")


def unknown_collection(name: str, names: Sequence[str]) -> NotFound:
    """The error for a name that no collection has, with the names that there are."""
    return NotFound(f"no collection {name!r}; there are: {', '.join(names) or 'none'}")


def check_spec(spec: CollectionSpec) -> None:
    """Raises InvalidInput for pooling out of its range, and for what Milvus could not hold."""
    check_pooling(spec.pooling)
    if spec.owner is not None:
        _check_id("tenant", spec.owner)
    for field in spec.fields:
        if not _FIELD.fullmatch(field):
            raise InvalidInput(
                f"filter field {field!r}: letters, digits and '_' only, not starting with a digit"
            )
    if len(spec.fields) > MAX_FIELDS:
        raise InvalidInput(f"at most {MAX_FIELDS} filter fields, got {len(spec.fields)}")


def check_pooling(pooling: int) -> None:
    """Raises InvalidInput for more tokens a vector than a collection may have."""
    if not 1 <= pooling <= MAX_POOLING:
        raise InvalidInput(f"pooling must be from 1 to {MAX_POOLING}, got {pooling}")


def check_tenants(name: str, spec: CollectionSpec, tenants: Iterable[str]) -> None:
    """Raises NotFound for the first tenant whose this collection is not."""
    for tenant in tenants:
        if not spec.admits(tenant):
            raise NotFound(f"collection {name!r} has nothing of tenant {tenant!r}")


def check_documents(documents: Sequence[DocumentRows], spec: CollectionSpec) -> None:
    """Raises InvalidInput for what a collection of this spec cannot hold, naming the document."""
    keys = [rows.document.key for rows in documents]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidInput(f"document {twice.id!r} is given twice in one write")
    for rows in documents:
        try:
            _check_document(rows, spec)
        except InvalidInput as error:
            raise InvalidInput(f"document {rows.document.id!r}: {error}") from error


def _check_document(rows: DocumentRows, spec: CollectionSpec) -> None:
    document = rows.document
    for name, value in (
        ("id", document.id),
        ("source", document.source),
        ("tenant", document.tenant),
    ):
        _check_id(name, value)
    if not spec.admits(document.tenant):
        raise InvalidInput(f"tenant {document.tenant!r}: the collection is another tenant's own")
    try:
        size = len(orjson.dumps(dict(document.metadata)))
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"metadata is not JSON: {error}") from error
    if size > MAX_METADATA_BYTES:
        raise InvalidInput(f"metadata has {size} bytes; the limit is {MAX_METADATA_BYTES}")
    for name, value in field_values(document.metadata, spec.fields).items():
        items = cast(list[object], value if isinstance(value, list) else [value])
        if len(items) > MAX_ARRAY_ITEMS:
            raise InvalidInput(f"field {name!r} has over {MAX_ARRAY_ITEMS} items")
        for item in items:
            if isinstance(item, str) and len(item.encode()) > MAX_VARCHAR_BYTES:
                raise InvalidInput(f"field {name!r} has over {MAX_VARCHAR_BYTES} bytes")
    if len(rows.chunks) != len(rows.embeddings):
        raise InvalidInput(f"{len(rows.chunks)} chunks but {len(rows.embeddings)} embeddings")
    for embedding in rows.embeddings:
        _check_embedding(embedding, spec)


def _check_id(name: str, value: str) -> None:
    if not value or len(value.encode()) > MAX_ID_BYTES:
        raise InvalidInput(f"{name} must have 1 to {MAX_ID_BYTES} bytes")


def _check_embedding(embedding: Representation, spec: CollectionSpec) -> None:
    if embedding.codec is not spec.codec:
        raise InvalidInput(f"vectors are {embedding.codec}, the collection holds {spec.codec}")
    if embedding.dense.shape != (spec.dimension,):
        raise InvalidInput(f"dense is {embedding.dense.shape}, not ({spec.dimension},)")
    if embedding.codes.shape != (_vectors(embedding, spec), width(spec.dimension, spec.codec)):
        raise InvalidInput(f"ColBERT codes are {embedding.codes.shape}")
    if not np.isfinite(embedding.dense).all() or not np.isfinite(embedding.sparse_weights).all():
        raise InvalidInput("a vector holds NaN or infinity")
    if (embedding.sparse_weights <= 0).any():
        raise InvalidInput("a sparse weight is not above zero")


def _vectors(embedding: Representation, spec: CollectionSpec) -> int:
    """How many its tokens have. Raises InvalidInput where they are not pooled as in the spec."""
    tokens, groups = len(embedding.token_ids), embedding.groups
    if (groups is not None) != (spec.pooling > 1):
        raise InvalidInput(f"tokens are {'' if spec.pooling == 1 else 'not '}pooled")
    if groups is None:
        return tokens
    if len(groups) != tokens or (tokens and groups.min() < 0):
        raise InvalidInput(f"groups of {len(groups)} tokens where there are {tokens}")
    return int(groups.max(initial=-1)) + 1
