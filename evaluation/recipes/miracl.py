"""MIRACL, development sets, as `miracl/miracl` and `miracl/miracl-corpus` have them on the Hub.

    miracl-v1.0-xx/topics/topics.miracl-v1.0-xx-dev.tsv   query id, query
    miracl-v1.0-xx/qrels/qrels.miracl-v1.0-xx-dev.tsv     query id, Q0, docid, grade
    miracl-corpus-v1.0-xx/docs-N.jsonl.gz                 docid, title, text

Columns have tabs between and no header. Apache-2.0; https://huggingface.co/datasets/miracl.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.recipes.collection import Published
from evaluation.recipes.files import columns, found
from m3.errors import InvalidInput
from m3.types import Document

_CODES = "ar bn en es fa fi fr hi id ja ko ru sw te th zh de yo"
LANGUAGES = tuple(_CODES.split())
_FIELDS = ("docid", "title", "text")


def read(folder: Path, language: str) -> Published:
    """Topics and judgments of one language's development set.

    Raises:
        InvalidInput: a file is missing or not what it should be; the message names it.
    """
    base, name = folder / f"miracl-v1.0-{language}", f"miracl-v1.0-{language}-dev.tsv"
    topics = {id_: text for _, (id_, text) in columns(found(base, f"topics/topics.{name}"), 2)}
    qrels = _qrels(found(base, f"qrels/qrels.{name}"))
    if unknown := qrels.keys() - topics.keys():
        raise InvalidInput(f"{base} judges query {min(unknown)!r}, which is not among its topics")
    queries = {id_: topics[id_] for id_ in qrels}
    files = _corpus(folder / f"miracl-corpus-v1.0-{language}")
    return Published(f"miracl-{language}", folder, queries, qrels, files, _FIELDS, _document)


def _qrels(path: Path) -> Mapping[str, Mapping[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for place, (query, _, document, grade) in columns(path, 4):
        if not grade.isdigit():
            raise InvalidInput(f"{place}: expected a whole number in the fourth column")
        qrels.setdefault(query, {})[document] = int(grade)
    return qrels


def _corpus(folder: Path) -> tuple[Path, ...]:
    files: list[Path] = [found(folder, "docs-0.jsonl.gz")]
    while (path := folder / files[0].name.replace("docs-0.", f"docs-{len(files)}.")).is_file():
        files.append(path)
    return tuple(files)


def _document(record: Mapping[str, Any]) -> Document:
    return Document(str(record["docid"]), record["text"], record["title"] or "")
