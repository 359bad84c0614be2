"""TREC run files: `query Q0 document rank score tag`, a line a document."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from evaluation.lines import text_lines
from evaluation.scores.ranking import Ranking, Run
from ingest.sources import Place
from m3.errors import InvalidInput

_COLUMNS = 6


def write(run: Run, path: Path, tag: str) -> None:
    """Scores as written fall strictly, by a step of fp32 where they tie.

    Other readers order by score alone, in fp32, and break ties by ids of their own liking.

    Raises:
        InvalidInput: an id with white space, which the format has no way to write; then
            nothing is written.
    """
    for id_ in chain(run, *(ranking.documents for ranking in run.values())):
        if id_.split() != [id_]:
            raise InvalidInput(f"a TREC run cannot hold the id {id_!r}: it has white space")
    with path.open("w", encoding="utf-8") as file:
        for query, ranking in run.items():
            scored = zip(ranking.documents, _falling(ranking), strict=True)
            for rank, (document, score) in enumerate(scored, 1):
                file.write(f"{query} Q0 {document} {rank} {score:.9g} {tag}\n")


def _falling(ranking: Ranking) -> Iterator[np.float32]:
    least = np.float32(np.inf)
    for score in ranking.scores:
        least = min(np.float32(score), np.nextafter(least, np.float32(-np.inf)))
        yield least


def read(path: Path) -> Run:
    """Documents by score, as trec_eval orders them: equal scores by id, the last first.

    Raises:
        InvalidInput: a line that is not one, or a document twice; with file and line.
    """
    found: dict[str, dict[str, float]] = {}
    for place, line in text_lines(path):
        query, document, score = _fields(line, place)
        documents = found.setdefault(query, {})
        if document in documents:
            raise InvalidInput(f"{place}: query {query!r} has document {document!r} twice")
        documents[document] = score
    if not found:
        raise InvalidInput(f"{path} has no line of a run")
    return {query: _ranked(scores) for query, scores in found.items()}


def _fields(line: str, place: Place) -> tuple[str, str, float]:
    columns = line.split()
    if len(columns) != _COLUMNS:
        raise InvalidInput(
            f"{place}: {len(columns)} columns; a TREC run has {_COLUMNS}: "
            "query Q0 document rank score tag"
        )
    query, _, document, _, score, _ = columns
    try:
        value = float(score)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInput(f"{place}: the fifth column, the score, is {score!r}, not a number")
    return query, document, value


def _ranked(scores: dict[str, float]) -> Ranking:
    order = sorted(scores, reverse=True)
    order.sort(key=lambda document: -scores[document])
    return Ranking(order, [scores[document] for document in order])
