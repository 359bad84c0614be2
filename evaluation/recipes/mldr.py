"""MLDR, test sets, as `Shitao/MLDR` has them on the Hub.

    mldr-v1.0-xx/test.jsonl.gz     query_id, query, and docids of passages that answer it or not
                                   under positive_passages and negative_passages
    mldr-v1.0-xx/corpus.jsonl.gz   docid, text

MIT; https://huggingface.co/datasets/Shitao/MLDR.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.recipes.collection import Published
from evaluation.recipes.files import found, records
from m3.types import Document

_CODES = "ar de en es fr hi it ja ko pt ru th zh"
LANGUAGES = tuple(_CODES.split())
_PASSAGES = {"positive_passages": 1, "negative_passages": 0}


def read(folder: Path, language: str) -> Published:
    """Questions and judgments of one language's test set.

    Raises:
        InvalidInput: a file is missing or not what it should be; the message names it.
    """
    base = folder / f"mldr-v1.0-{language}"
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for _, record in records(found(base, "test.jsonl.gz"), "query_id", "query", *_PASSAGES):
        id_ = str(record["query_id"])
        queries[id_] = record["query"]
        qrels[id_] = {
            str(passage["docid"]): grade
            for name, grade in _PASSAGES.items()
            for passage in record[name]
        }
    files = (found(base, "corpus.jsonl.gz"),)
    return Published(
        f"mldr-{language}", folder, queries, qrels, files, ("docid", "text"), _document
    )


def _document(record: Mapping[str, Any]) -> Document:
    return Document(str(record["docid"]), record["text"])
