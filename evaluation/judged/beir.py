"""Test collections in BEIR's layout: `corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.lines import json_object
from ingest.sources import Parsed, Place
from m3.errors import InvalidInput
from m3.types import Document

_CORPUS = "corpus.jsonl"
_QUERIES = "queries.jsonl"
_QRELS = "qrels/test.tsv"
_NAMED = 5
"""Documents that an error names."""


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
        return self.folder / _CORPUS

    def check_judgments(self) -> None:
        """Raises InvalidInput for judgments of documents that the corpus does not have."""
        unknown = {document: None for grades in self.qrels.values() for document in grades}
        for line in _lines(self.corpus):
            unknown.pop(line.id, None)
        if unknown:
            raise InvalidInput(
                f"{self.folder / _QRELS} judges {named(list(unknown))} not in {_CORPUS}"
            )

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


def load(folder: Path) -> TestCollection:
    """Queries and judgments of a folder; its corpus is read when it is asked for.

    Raises:
        InvalidInput: a file is missing or not what it should be; the message names it.
    """
    _check_files(folder, _CORPUS, _QUERIES, _QRELS)
    return TestCollection(folder.resolve().name, folder, *judgments(folder))


def judgments(folder: Path) -> tuple[Mapping[str, str], Mapping[str, Mapping[str, int]]]:
    """The judged queries by id, and their grades, of a folder that may have no corpus.

    Raises:
        InvalidInput: as `load`.
    """
    _check_files(folder, _QUERIES, _QRELS)
    qrels = _qrels(folder / _QRELS)
    texts = {line.id: line.record["text"] for line in _lines(folder / _QUERIES)}
    if missing := [id_ for id_ in qrels if id_ not in texts]:
        raise InvalidInput(f"{folder / _QRELS} judges query {missing[0]!r}, not in {_QUERIES}")
    if empty := [id_ for id_ in qrels if not texts[id_].strip()]:
        raise InvalidInput(f"{folder / _QUERIES}: query {empty[0]!r} is empty, and is judged")
    return {id_: texts[id_] for id_ in qrels}, qrels


def _check_files(folder: Path, *names: str) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise InvalidInput(
                f"{folder / name} is missing: a folder in BEIR layout has {_CORPUS}, {_QUERIES} "
                f"and {_QRELS}"
            )


def named(documents: Sequence[str]) -> str:
    """How many documents there are, and the first few of their ids."""
    first = ", ".join(map(repr, documents[:_NAMED]))
    more = ", …" if len(documents) > _NAMED else ""
    return f"{len(documents)} document{'s' * (len(documents) != 1)} ({first}{more})"


def _lines(path: Path) -> Iterator[_Line]:
    """Blank lines are passed over."""
    seen = set[str]()
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            place = Place(str(path), number)
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
    for name in ("_id", "text"):
        if not isinstance(record.get(name), str):
            raise InvalidInput(f"{place}: expected a string under {name!r}")
    if not isinstance(record.get("title") or "", str):
        raise InvalidInput(f"{place}: expected a string under 'title'")
    return record


def _qrels(path: Path) -> Mapping[str, Mapping[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines()[1:], 2):
        if not line.strip():
            continue
        try:
            query, document, grade = line.split("\t")
            value = int(grade)
        except ValueError:
            raise InvalidInput(
                f"{path}:{number}: expected query id, document id and a whole number, "
                "with tabs between"
            ) from None
        grades = qrels.setdefault(query, {})
        if document in grades:
            raise InvalidInput(f"{path}:{number}: query {query!r} judges {document!r} twice")
        grades[document] = value
    if not qrels:
        raise InvalidInput(f"{path} holds no judgment below its header")
    return qrels
