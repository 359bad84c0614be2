"""A sheet for people to judge: a CSV of queries and documents, with a grade to fill in."""

from __future__ import annotations

import csv
import random
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from evaluation.measuring.metrics import Qrels
from evaluation.measuring.significance import SEED
from evaluation.scores.ranking import rankings
from evaluation.scores.raw import RawScores
from m3.errors import InvalidInput
from scoring.fusion import Method
from search.looking import Look
from store.chunks import StoredChunk

_COLUMNS = ("query_id", "query", "document_id", "title", "text", "grade")
_NEEDED = ("query_id", "query", "document_id", "grade")
_POOLED = (Method.DENSE, Method.SPARSE, Method.COLBERT, Method.FUSION)


@dataclass(frozen=True, slots=True)
class Passages:
    """Of each document that a pass found, a title and a passage to show; `see` is its `on_look`."""

    known: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    def see(self, _query: str, _look: Look, texts: Mapping[int, StoredChunk]) -> None:
        for chunk in texts.values():
            self.known.setdefault(chunk.document_id, (chunk.title, chunk.text))


def pool(raw: RawScores, top: int, *, seed: int = SEED) -> Mapping[str, Sequence[str]]:
    """What any method has among its first documents, so that no method is favoured; shuffled.

    An order would tell the judge what the system thinks.
    """
    pooled: dict[str, dict[str, None]] = {query: {} for query in raw.queries}
    for method in _POOLED:
        for query, ranking in rankings(raw, method).items():
            pooled[query].update(dict.fromkeys(ranking.documents[:top]))
    shuffle = random.Random(seed)  # noqa: S311 - no secret
    return {query: shuffle.sample(sorted(found), len(found)) for query, found in pooled.items()}


def check(path: Path) -> None:
    """Made sure of before all queries are searched. Raises InvalidInput, as `write` does."""
    with _made(path):
        pass
    path.unlink()


def write(
    path: Path,
    queries: Mapping[str, str],
    pooled: Mapping[str, Sequence[str]],
    passages: Passages,
) -> int:
    """A line for each query and document, its grade empty; returns how many.

    Raises:
        InvalidInput: the file cannot be written, or is there already: grades may be in it.
    """
    lines = 0
    with _made(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for query, documents in pooled.items():
            for document in documents:
                title, text = passages.known[document]
                writer.writerow([query, queries[query], document, title, text, ""])
                lines += 1
    return lines


@contextmanager
def _made(path: Path) -> Generator[TextIO]:
    try:
        # With a byte order mark, without which Excel takes UTF-8 for something else.
        with path.open("x", newline="", encoding="utf-8-sig") as file:
            yield file
    except FileExistsError:
        raise InvalidInput(
            f"{path} exists: grades may be in it; name another file, or take it away"
        ) from None
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}") from error


def read(path: Path) -> tuple[Mapping[str, str], Qrels]:
    """Queries and grades; lines without a grade are not judged, queries without any left out.

    Raises:
        InvalidInput: with file and line, what is no grade, or is judged twice; or nothing is.
    """
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for place, row in _rows(path):
        if not (row["grade"] or "").strip():
            continue
        query, document = row["query_id"], row["document_id"]
        grades = qrels.setdefault(query, {})
        if document in grades:
            raise InvalidInput(f"{place}: query {query!r} judges {document!r} twice")
        grades[document] = _grade(row["grade"], place)
        if not row["query"].strip():
            raise InvalidInput(f"{place}: query {query!r} is empty")
        queries[query] = row["query"]
    if not qrels:
        raise InvalidInput(f"{path} has no grade: fill in the column 'grade', 0 for not relevant")
    return queries, qrels


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            # Spreadsheets of some countries write semicolons.
            rows = csv.DictReader(file, delimiter=max(",;\t", key=header.count))
            lacking = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
            if lacking:
                raise InvalidInput(f"{path}:1: no column {lacking[0]!r}; it needs {_NEEDED}")
            for row in rows:
                if any(row[name] is None for name in _NEEDED):
                    raise InvalidInput(f"{path}:{rows.line_num}: fewer columns than the first line")
                yield f"{path}:{rows.line_num}", row
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not in UTF-8: save it as CSV UTF-8") from error


def _grade(text: str, place: str) -> int:
    try:
        grade = int(text)
    except ValueError:
        grade = -1
    if grade < 0:
        raise InvalidInput(f"{place}: grade {text!r}: write 0, 1, 2 or 3, or leave it empty")
    return grade
