"""MKQA, questions in 25 languages over English passages: how well meaning crosses languages.

    qa_data/xx.jsonl    id, question, answers (in English)
    corpus.jsonl.gz     _id, title, text

Questions: the 6,619 that BGE-M3's authors kept, `MKQA_test-data.zip` of `Shitao/bge-m3-data` on the
Hub, unpacked as qa_data. Passages: Natural Questions as BEIR has it, `BeIR/nq` on the Hub, put
into lower case and plain punctuation as the authors' scripts do.
MKQA is CC BY-SA 3.0 (https://github.com/apple/ml-mkqa), BeIR/nq CC BY-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.recipes.answers import plain
from evaluation.recipes.collection import Published
from evaluation.recipes.files import found, records
from m3.types import Document

_CODES = "ar da de es fi fr he hu it ja km ko ms nl no pl pt ru sv th tr vi zh_cn zh_hk zh_tw"
LANGUAGES = tuple(_CODES.split())


def read(folder: Path, language: str) -> Published:
    """One language's questions; the passages are the same for all, under one name.

    Raises:
        InvalidInput: a file is missing or not what it should be; the message names it.
    """
    queries: dict[str, str] = {}
    answers: dict[str, Sequence[str]] = {}
    asked = found(folder, f"qa_data/{language}.jsonl")
    for _, record in records(asked, "id", "question", "answers"):
        queries[str(record["id"])] = record["question"]
        answers[str(record["id"])] = record["answers"]
    files = (found(folder, "corpus.jsonl.gz"),)
    fields = ("_id", "title", "text")
    return Published("mkqa", folder, queries, {}, files, fields, _document, answers)


def _document(record: Mapping[str, Any]) -> Document:
    title, text = plain(record["title"] or "").lower(), plain(record["text"]).lower()
    return Document(str(record["_id"]), text, title)
