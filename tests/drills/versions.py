"""Documents whose every chunk says which document, version and part it is."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson

from m3.types import Document

PARTS = 4
MAX_TOKENS = 48
"""One part fills a chunk of this many tokens, and two do not fit."""

_WORDS = [
    "river",
    "stone",
    "market",
    "engine",
    "winter",
    "garden",
    "signal",
    "copper",
    "harbour",
    "letter",
]
_LABEL = re.compile(r"document (\d+) version (\d+) part (\d+)")


def document(number: int, version: int) -> Document:
    """Document `number` as of that version; equal calls give equal documents."""
    rng = random.Random(f"{number}-{version}")
    parts = [
        f"document {number} version {version} part {part}: {' '.join(rng.choices(_WORDS, k=24))}."
        for part in range(PARTS)
    ]
    metadata = {"version": version, "even": number % 2 == 0}
    return Document(f"d{number}", "\n\n".join(parts), f"Title {number}", metadata)


def write(path: Path, versions: Mapping[int, int]) -> None:
    """These documents, each in its version, as JSON lines."""
    documents = (document(number, version) for number, version in versions.items())
    path.write_bytes(
        b"\n".join(
            orjson.dumps({"id": d.id, "title": d.title, "text": d.text, **d.metadata})
            for d in documents
        )
    )


def seen(texts: Iterable[str]) -> tuple[int, int]:
    """The document and the version that these chunks are, all of it and nothing else.

    Raises:
        ValueError: they are of several versions, or some are missing.
    """
    labels = sorted((int(n), int(v), int(p)) for text in texts for n, v, p in _LABEL.findall(text))
    number, version, _ = labels[0] if labels else (-1, -1, -1)
    if labels != [(number, version, part) for part in range(PARTS)]:
        raise ValueError(f"not one whole document: {labels}")
    return number, version
