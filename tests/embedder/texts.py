"""Real texts of mixed length and language."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path


def real_texts(data: Path, count: int) -> list[str]:
    """`count` texts, taken from every collection in turn: queries, passages, whole pages."""
    sources = [
        _records(data / "scifact" / "corpus.jsonl"),
        _records(data / "cranfield" / "corpus.jsonl"),
        _records(data / "cranfield" / "queries.jsonl"),
        _records(data / "xquad-en" / "corpus.jsonl"),
        _records(data / "xquad-de" / "queries.jsonl"),
        _records(data / "xquad-zh" / "corpus.jsonl"),
        _pages(data / "milvus-docs-md"),
    ]
    texts: list[str] = []
    while len(texts) < count:
        texts += [text for source in sources for text in islice(source, 1) if text.strip()]
    return texts[:count]


def _records(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            yield f"{record.get('title', '')} {record['text']}".strip()


def _pages(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*.md")):
        yield file.read_text("utf-8")
