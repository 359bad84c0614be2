"""Metrics against their textbook formulas, on rankings that can be checked by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics import measure

documents = [f"d{i}" for i in range(14)]
grades = st.dictionaries(st.sampled_from(documents), st.integers(0, 3), max_size=6)
rankings = st.permutations(documents).flatmap(
    lambda order: st.integers(0, len(order)).map(lambda n: order[:n])
)


def ndcg(judged: dict[str, int], ranking: list[str], depth: int) -> float:
    gains = [judged.get(document, 0) for document in ranking[:depth]]
    best = sorted(judged.values(), reverse=True)[:depth]
    ideal = _discounted(best)
    return _discounted(gains) / ideal if ideal else 0.0


def _discounted(gains: list[int]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def recall(judged: dict[str, int], ranking: list[str], depth: int) -> float:
    relevant = {document for document, grade in judged.items() if grade > 0}
    return len(relevant & set(ranking[:depth])) / len(relevant) if relevant else 0.0


def reciprocal_rank(judged: dict[str, int], ranking: list[str], depth: int) -> float:
    places = [i for i, document in enumerate(ranking[:depth], 1) if judged.get(document, 0) > 0]
    return 1 / places[0] if places else 0.0


@given(st.lists(st.tuples(grades.filter(bool), rankings), min_size=1, max_size=4))
def test_means_over_queries_by_the_formulas(queries: list) -> None:
    qrels = {f"q{i}": judged for i, (judged, _) in enumerate(queries)}
    runs = {f"q{i}": ranking for i, (_, ranking) in enumerate(queries)}
    got = measure(qrels, runs)
    for name, formula, depth in (
        ("nDCG@10", ndcg, 10),
        ("Recall@100", recall, 100),
        ("MRR@10", reciprocal_rank, 10),
    ):
        mean = sum(formula(*query, depth) for query in queries) / len(queries)
        assert got[name] == pytest.approx(mean, abs=6e-5), name


def test_a_query_that_was_not_answered_counts() -> None:
    got = measure({"a": {"d1": 1}, "b": {"d2": 1}}, {"a": ["d1"]})
    assert got == {"nDCG@10": 0.5, "Recall@100": 0.5, "MRR@10": 0.5}
