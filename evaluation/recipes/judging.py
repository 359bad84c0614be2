"""What a recipe's rankings are worth: by judged documents, or by the answers they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from evaluation.measuring.metrics import measure, metric_named
from evaluation.recipes.answers import Answers, plain
from evaluation.recipes.protocol import Ranker

_TOP = 100
"""Documents of a ranking that a metric looks at, at most."""


class Judge(Protocol):
    """Collects rankings, some queries at a time."""

    def add(self, ranker: Ranker, rankings: Mapping[str, Sequence[str]]) -> None:
        """Documents by query, best first."""
        ...

    def forget_texts(self) -> None:
        """The queries that were added are done with."""
        ...

    def results(self) -> Mapping[Ranker, float]: ...


class ByQrels:
    """A metric of judged documents."""

    def __init__(self, qrels: Mapping[str, Mapping[str, int]], metric: str) -> None:
        self._qrels, self._metric = qrels, metric_named(metric)
        self._rankings: dict[Ranker, dict[str, Sequence[str]]] = {}

    def add(self, ranker: Ranker, rankings: Mapping[str, Sequence[str]]) -> None:
        best = {query: documents[:_TOP] for query, documents in rankings.items()}
        self._rankings.setdefault(ranker, {}).update(best)

    def forget_texts(self) -> None:
        """There are none."""

    def results(self) -> Mapping[Ranker, float]:
        return {
            ranker: float(measure(self._qrels, found, [self._metric])[str(self._metric)].mean())
            for ranker, found in self._rankings.items()
        }


class ByAnswers:
    """The share of questions with an answer in one of the best passages: RocketQA's Recall@100."""

    def __init__(self, answers: Mapping[str, Sequence[str]]) -> None:
        self._answers = {query: Answers(given) for query, given in answers.items()}
        self._texts: dict[tuple[str, str], str] = {}
        self._answered: dict[Ranker, list[bool]] = {}
        self._known: dict[tuple[str, str], bool] = {}

    def see(self, query: str, document: str, text: str) -> None:
        """A passage that a query found."""
        self._texts[query, document] = text

    def add(self, ranker: Ranker, rankings: Mapping[str, Sequence[str]]) -> None:
        self._answered.setdefault(ranker, []).extend(
            any(self._has_answer(query, document) for document in documents[:_TOP])
            for query, documents in rankings.items()
        )

    def forget_texts(self) -> None:
        self._texts.clear()
        self._known.clear()

    def results(self) -> Mapping[Ranker, float]:
        return {ranker: sum(found) / len(found) for ranker, found in self._answered.items()}

    def _has_answer(self, query: str, document: str) -> bool:
        at = (query, document)
        if at not in self._known:
            self._known[at] = self._answers[query].are_in(plain(self._texts[at]))
        return self._known[at]
