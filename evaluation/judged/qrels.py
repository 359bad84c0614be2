"""Judgments of a folder in BEIR's layout: `qrels/test.tsv`, and of other splits beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.lines import text_lines
from ingest.sources import Place
from m3.errors import InvalidInput

SPLIT = "test"
"""Whose judgments are taken, unless another is named."""
_FOLDER = "qrels"
_COLUMNS = 3
_WHOLE = re.compile(r"\s*[+-]?\d+\s*")


def file_of(folder: Path, split: str) -> Path:
    """Where a split's judgments are. Raises InvalidInput where they are not; it names others."""
    path = folder / _FOLDER / f"{split}.tsv"
    if path.is_file():
        return path
    if others := sorted(other.stem for other in path.parent.glob("*.tsv")):
        raise InvalidInput(
            f"{path} is missing; there are judgments of: {', '.join(others)} (--split)"
        )
    raise InvalidInput(f"{path} is missing: it holds query id, document id and grade by line")


def read(path: Path) -> Mapping[str, Mapping[str, int]]:
    """Grades by query and document.

    A first line that ends in a word is a header. The same judgment twice counts once.

    Raises:
        InvalidInput: with file and line, what is no judgment, or contradicts one; or there is none.
    """
    qrels: dict[str, dict[str, int]] = {}
    for place, line in text_lines(path):
        cells = line.split("\t")
        if place.line == 1 and len(cells) == _COLUMNS and not re.search(r"\d", cells[-1]):
            continue
        query, document, grade = _judgment(cells, place)
        if qrels.setdefault(query, {}).setdefault(document, grade) != grade:
            raise InvalidInput(
                f"{place}: query {query!r} judges {document!r} twice, {grade} and "
                f"{qrels[query][document]}"
            )
    if not qrels:
        raise InvalidInput(f"{path} holds no judgment")
    return qrels


def _judgment(cells: Sequence[str], place: Place) -> tuple[str, str, int]:
    if len(cells) != _COLUMNS or not _WHOLE.fullmatch(cells[-1]):
        trec = "; leave out the second column of TREC's form" * (len(cells) == _COLUMNS + 1)
        raise InvalidInput(
            f"{place}: expected query id, document id and a whole number, with tabs between{trec}"
        )
    query, document, grade = cells
    return query, document, int(grade)
