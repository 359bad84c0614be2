"""Queries as people asked them: a text file with one a line, or JSONL."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from evaluation.lines import json_object, text_lines
from evaluation.measuring.significance import SEED
from ingest.sources import Place
from m3.errors import InvalidInput

_TEXTS = ("query", "text")
_IDS = ("_id", "id", "query_id")


def read(path: Path) -> Mapping[str, str]:
    """Texts by id: the id that a line gives, or its number. A text that came before is left out.

    A file whose first line is an object is JSONL, of objects with `query` or `text`, and `_id` if
    they like. Blank lines are passed over.

    Raises:
        InvalidInput: no queries, or a line that is none; the message names it.
    """
    lines = [(place, line.strip()) for place, line in text_lines(path)]
    objects = bool(lines) and lines[0][1].startswith("{")
    queries: dict[str, str] = {}
    seen = set[str]()
    for place, line in lines:
        id_, text = _object(line, place) if objects else ("", line)
        if text in seen:
            continue
        seen.add(text)
        id_ = id_ or str(place.line)
        if id_ in queries:
            raise InvalidInput(f"{place}: query id {id_!r} is there twice")
        queries[id_] = text
    if not queries:
        raise InvalidInput(f"{path} has no query")
    return queries


def sample(queries: Mapping[str, str], count: int, *, seed: int = SEED) -> Mapping[str, str]:
    """That many of them at random, in their order; all if there are no more."""
    chosen = set(random.Random(seed).sample(list(queries), min(count, len(queries))))  # noqa: S311 - no secret
    return {id_: text for id_, text in queries.items() if id_ in chosen}


def _object(line: str, place: Place) -> tuple[str, str]:
    record = json_object(line, place) or {}
    text = next((record[name] for name in _TEXTS if name in record), None)
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(f"{place}: expected an object with a text under 'query' or 'text'")
    id_ = next((record[name] for name in _IDS if name in record), "")
    return str(id_), text.strip()
