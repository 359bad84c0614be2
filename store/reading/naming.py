"""Rows named to Milvus by their ids, where it cannot be told in its own words which are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import orjson
import pyarrow as pa

from store.index.index import KEY
from store.reading.question import Question
from store.spec import CollectionSpec
from store.table.lance_words import allowed, forbidden, surely_forbidden
from store.table.rows import ROW_ID, values
from store.table.sql import literal
from store.table.version import Version

MOST_NAMED = 10_000
"""Rows of one Milvus expression: some 80 kB of digits."""

_NONE = -1
"""No row has this id, and Milvus takes no empty list."""


def named(version: Version, question: Question, spec: CollectionSpec) -> str | None:
    """An expression that leaves those rows alone which have the words that the question wants.

    None where more than `MOST_NAMED` would have to be named.
    """
    if question.words is None:
        return None
    if not question.words.must:
        few = _few(_unwanted(version, question))
        if few is not None:
            return _expression(few, "not in")
    few = _few(_wanted(version, question, spec))
    return None if few is None else _expression(few, "in")


def in_parts(version: Version, question: Question, spec: CollectionSpec) -> Iterator[str]:
    """Expressions that name, one after the other, all rows that the question wants."""
    rows = iter(_wanted(version, question, spec))
    while part := list(islice(rows, MOST_NAMED)):
        yield _expression(part, "in")


def _few(rows: Iterable[int]) -> list[int] | None:
    few = list(islice(rows, MOST_NAMED + 1))
    return few if len(few) <= MOST_NAMED else None


def _expression(rows: Sequence[int], relation: str) -> str:
    return f"{KEY} {relation} [{','.join(map(str, rows or [_NONE]))}]"


def _wanted(version: Version, question: Question, spec: CollectionSpec) -> Iterable[int]:
    words, condition = question.words, "true"
    if words is not None:
        condition = f"({allowed(words)}) and not ({surely_forbidden(words)})"
    for row, title, text, metadata in _passages(version, question.tenant, condition):
        if question.admits(title, text, metadata, spec):
            yield row


def _unwanted(version: Version, question: Question) -> Iterable[int]:
    words = question.words
    assert words is not None  # noqa: S101 - asked for words alone
    surely = surely_forbidden(words)
    for rows in version.scan([], _of_tenant(question.tenant, surely)):
        yield from values(rows, ROW_ID)
    others = f"({forbidden(words)}) and not ({surely})"
    for row, title, text, _ in _passages(version, question.tenant, others):
        if not words.allow(title, text):
            yield row


def _passages(
    version: Version, tenant: str, condition: str
) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
    """Row id, title, text and metadata of the tenant's rows that meet a condition."""
    columns = ["title", "text", "metadata"]
    found = version.scan(columns, _of_tenant(tenant, condition))
    return chain.from_iterable(map(_records, found))


def _of_tenant(tenant: str, condition: str) -> str:
    return f"tenant = {literal(tenant)} and ({condition})"


def _records(rows: pa.Table) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
    columns = (values(rows, name) for name in (ROW_ID, "title", "text", "metadata"))
    for row, title, text, metadata in zip(*columns, strict=True):
        yield row, title, text, orjson.loads(metadata)
