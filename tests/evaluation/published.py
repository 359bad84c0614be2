"""Small MIRACL, MKQA and MLDR folders in their published formats, made of XQuAD's paragraphs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.judged.beir import load

DOCUMENTS = 16
QUERIES = 8


@dataclass(frozen=True)
class Sample:
    """Paragraphs of one language, and questions about them."""

    documents: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


def sample(folder: Path) -> Sample:
    """The first paragraphs of a folder in BEIR layout, every other question about them."""
    judged = load(folder)
    documents = {item.document.id: item.document.text for item in judged.documents()}
    kept = dict(list(documents.items())[:DOCUMENTS])
    asked = [id_ for id_, grades in judged.qrels.items() if kept.keys() >= grades.keys()]
    queries = {id_: judged.queries[id_] for id_ in asked[: 2 * QUERIES : 2]}
    return Sample(kept, queries, {id_: judged.qrels[id_] for id_ in queries})


def write_miracl(folder: Path, language: str, sample: Sample) -> None:
    base = folder / f"miracl-v1.0-{language}"
    name = f"miracl-v1.0-{language}-dev.tsv"
    _text(base / f"topics/topics.{name}", (f"{id_}\t{q}" for id_, q in sample.queries.items()))
    _text(
        base / f"qrels/qrels.{name}",
        (f"{query}\tQ0\t{id_}\t{grade}" for query, id_, grade in _judgments(sample)),
    )
    rows = [{"docid": i, "title": "", "text": text} for i, text in sample.documents.items()]
    corpus = folder / f"miracl-corpus-v1.0-{language}"
    _packed(corpus / "docs-0.jsonl.gz", rows[: DOCUMENTS // 2])
    _packed(corpus / "docs-1.jsonl.gz", rows[DOCUMENTS // 2 :])


def write_mldr(folder: Path, language: str, sample: Sample) -> None:
    base = folder / f"mldr-v1.0-{language}"
    texts = sample.documents
    _packed(
        base / "test.jsonl.gz",
        (
            {
                "query_id": query,
                "query": sample.queries[query],
                "positive_passages": [{"docid": id_, "text": texts[id_]}],
                "negative_passages": [{"docid": "p0" if id_ != "p0" else "p1", "text": ""}],
            }
            for query, id_, _ in _judgments(sample)
        ),
    )
    _packed(base / "corpus.jsonl.gz", ({"docid": i, "text": text} for i, text in texts.items()))


def write_mkqa(
    folder: Path, language: str, asked: Sample, english: Sample, answers: Mapping[str, list[str]]
) -> None:
    """Questions of one language over English passages."""
    _text(
        folder / f"qa_data/{language}.jsonl",
        (
            json.dumps({"id": id_, "question": text, "answers": answers[id_]})
            for id_, text in asked.queries.items()
        ),
    )
    _packed(
        folder / "corpus.jsonl.gz",
        ({"_id": id_, "title": "", "text": text} for id_, text in english.documents.items()),
    )


def _judgments(sample: Sample) -> list[tuple[str, str, int]]:
    return [(q, id_, grade) for q, grades in sample.qrels.items() for id_, grade in grades.items()]


def _text(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _packed(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
