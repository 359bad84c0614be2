"""Test collections in BEIR's layout: `corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`.

The two of JSON lines may be packed by gzip, as they are published in places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.judged import qrels as qrels_files
from evaluation.judged.qrels import SPLIT
from evaluation.lines import is_packed, json_object, lines, packed_or_not
from ingest.sources import Parsed, Place
from m3.errors import InvalidInput
from m3.types import Document

_CORPUS = "corpus.jsonl"
_QUERIES = "queries.jsonl"
_NAMED = 5
"""Documents or queries that an error names."""


@dataclass(frozen=True, slots=True)
class TestCollection:
    """Documents, questions about them, and which documents answer which question.

    Attributes:
        queries: the judged ones, by id.
        qrels: for each judged query, grades by document id; above 0 is relevant.
    """

    __test__ = False

    name: str
    folder: Path
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]

    @property
    def corpus(self) -> Path:
        return _file(self.folder, _CORPUS)

    @property
    def size(self) -> int | None:
        """Bytes of the corpus; None where they are packed."""
        return None if is_packed(self.corpus) else self.corpus.stat().st_size

    def unknown(self) -> list[str]:
        """The judged documents that the corpus does not have, by id."""
        left = {document: None for grades in self.qrels.values() for document in grades}
        for line in _lines(self.corpus):
            left.pop(line.id, None)
        return list(left)

    def documents(self) -> Iterator[Parsed]:
        """The corpus as it is read. Documents with neither text nor title are passed over.

        Raises:
            InvalidInput: a line that is not a document, or an id twice; with file and line.
        """
        for line in _lines(self.corpus):
            text, title = line.record["text"], line.record.get("title") or ""
            if text.strip() or title.strip():
                whole = Document(line.id, text, title) if text.strip() else Document(line.id, title)
                yield Parsed(whole, line.place, size=line.size)


@dataclass(frozen=True, slots=True)
class _Line:
    """A record with its id, where it stands and how many bytes it has."""

    id: str
    record: Mapping[str, Any]
    place: Place
    size: int


def load(folder: Path, split: str = SPLIT) -> TestCollection:
    """Queries and judgments of a folder; its corpus is read when it is asked for.

    Raises:
        InvalidInput: a file is missing or not what it should be; the message names it.
    """
    _file(folder, _CORPUS)
    return TestCollection(folder.resolve().name, folder, *judgments(folder, split))


def judgments(
    folder: Path, split: str = SPLIT
) -> tuple[Mapping[str, str], Mapping[str, Mapping[str, int]]]:
    """The judged queries by id, and their grades, of a folder that may have no corpus.

    Raises:
        InvalidInput: as `load`.
    """
    queries, judged = _file(folder, _QUERIES), qrels_files.file_of(folder, split)
    qrels = qrels_files.read(judged)
    texts: dict[str, str] = {line.id: line.record["text"] for line in _lines(queries)}
    if missing := [id_ for id_ in qrels if id_ not in texts]:
        raise InvalidInput(f"{judged} judges {named(missing, 'query')} not in {queries.name}")
    if empty := [id_ for id_ in qrels if not texts[id_].strip()]:
        raise InvalidInput(f"{queries}: judged but empty: {named(empty, 'query')}")
    return {id_: texts[id_] for id_ in qrels}, qrels


def _file(folder: Path, name: str) -> Path:
    """One of the two files of JSON lines."""
    if (path := packed_or_not(folder / name)) is None:
        raise InvalidInput(
            f"{folder / name} is missing: a folder in BEIR layout has {_CORPUS}, {_QUERIES} "
            f"and qrels/{SPLIT}.tsv"
        )
    return path


def named(ids: Sequence[str], what: str = "document") -> str:
    """How many documents or queries there are, and the first few of their ids."""
    plural = {"document": "documents", "query": "queries"}[what]
    first = ", ".join(map(repr, ids[:_NAMED]))
    more = ", …" if len(ids) > _NAMED else ""
    return f"{len(ids)} {what if len(ids) == 1 else plural} ({first}{more})"


def _lines(path: Path) -> Iterator[_Line]:
    """Blank lines are passed over."""
    seen = set[str]()
    for place, line in lines(path):
        record = _record(line, place)
        id_: str = record["_id"]
        if id_ in seen:
            raise InvalidInput(f"{place}: _id {id_!r} is there twice")
        seen.add(id_)
        yield _Line(id_, record, place, len(line))


def _record(line: bytes, place: Place) -> Mapping[str, Any]:
    record = json_object(line, place)
    if record is None:
        raise InvalidInput(f"{place}: expected an object")
    if type(record.get("_id")) is int:  # judgments have no other way to write it than as text
        record["_id"] = str(record["_id"])
    for name in ("_id", "text"):
        if not isinstance(record.get(name), str):
            raise InvalidInput(f"{place}: expected a string under {name!r}")
    if not isinstance(record.get("title") or "", str):
        raise InvalidInput(f"{place}: expected a string under 'title'")
    return record
