"""Queries with judgments: of a folder in BEIR layout, or of a sheet that a person filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluation.judged import beir, sheets
from evaluation.judged.qrels import SPLIT
from evaluation.measuring.metrics import Qrels
from m3.errors import InvalidInput
from store.contract import Collection


@dataclass(frozen=True, slots=True)
class Judgments:
    """The judged queries' texts by id, and which documents answer them."""

    name: str
    queries: Mapping[str, str]
    qrels: Qrels


def load(path: Path, split: str = SPLIT) -> Judgments:
    """Of a split of a folder, or of a sheet.

    Raises:
        InvalidInput: what is neither; the message names file and line.
    """
    if path.is_dir():
        queries, qrels = beir.judgments(path, split)
        return Judgments(path.resolve().name, queries, qrels)
    if not path.is_file():
        raise InvalidInput(f"{path} is neither a folder in BEIR layout nor a sheet of judgments")
    queries, qrels = sheets.read(path)
    return Judgments(path.stem, queries, qrels)


def unknown(judged: Judgments, collection: Collection) -> list[str]:
    """The judged documents that a collection does not have, by id."""
    left = {document: None for grades in judged.qrels.values() for document in grades}
    for some in collection.hashes():
        for key in some:
            left.pop(key.id, None)
    return list(left)
