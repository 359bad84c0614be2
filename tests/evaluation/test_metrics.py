"""Metrics against their textbook formulas, on rankings that can be checked by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.measuring.metrics import DEFAULT, measure, metric_named
from m3.errors import InvalidInput

documents = [f"d{i}" for i in range(14)]
grades = st.dictionaries(st.sampled_from(documents), st.integers(-1, 3), max_size=6)
rankings = st.permutations(documents).flatmap(
    lambda order: st.integers(0, len(order)).map(lambda n: order[:n])
)


def ndcg(judged: dict[str, int], ranking: list[str], depth: int) -> float:
    gains = [max(judged.get(document, 0), 0) for document in ranking[:depth]]
    best = sorted((max(grade, 0) for grade in judged.values()), reverse=True)[:depth]
    ideal = _discounted(best)
    return _discounted(gains) / ideal if ideal else 0.0


def _discounted(gains: list[int]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def relevant(judged: dict[str, int]) -> set[str]:
    return {document for document, grade in judged.items() if grade > 0}


def recall(judged: dict[str, int], ranking: list[str], depth: int) -> float:
    wanted = relevant(judged)
    return len(wanted & set(ranking[:depth])) / len(wanted) if wanted else 0.0


def reciprocal_rank(judged: dict[str, int], ranking: list[str], depth: int) -> float:
    places = [i for i, document in enumerate(ranking[:depth], 1) if judged.get(document, 0) > 0]
    return 1 / places[0] if places else 0.0


def average_precision(judged: dict[str, int], ranking: list[str], depth: int) -> float:
    wanted = relevant(judged)
    found = [i for i, document in enumerate(ranking[:depth], 1) if document in wanted]
    return sum((n + 1) / place for n, place in enumerate(found)) / len(wanted) if wanted else 0.0


FORMULAS = {
    "nDCG@10": (ndcg, 10),
    "nDCG@3": (ndcg, 3),
    "Recall@100": (recall, 100),
    "Recall@5": (recall, 5),
    "MRR@10": (reciprocal_rank, 10),
    "MRR": (reciprocal_rank, 1_000),
    "MAP": (average_precision, 1_000),
    "MAP@4": (average_precision, 4),
}


@given(st.lists(st.tuples(grades.filter(bool), rankings), min_size=1, max_size=4))
def test_each_query_by_the_formulas(queries: list) -> None:
    qrels = {f"q{i}": judged for i, (judged, _) in enumerate(queries)}
    runs = {f"q{i}": ranking for i, (_, ranking) in enumerate(queries)}
    got = measure(qrels, runs, [metric_named(name) for name in FORMULAS])
    for name, (formula, depth) in FORMULAS.items():
        want = [formula(*query, depth) for query in queries]
        assert got[name] == pytest.approx(want, abs=1e-6), name


def test_by_hand() -> None:
    """Graded, a relevant document that is missing, one without a judgment, one judged as 0."""
    judged = {"a": 3, "b": 1, "c": 2, "z": 0}
    got = measure({"q": judged}, {"q": ["x", "a", "z", "b"]}, DEFAULT)
    log3, log5 = math.log2(3), math.log2(5)
    assert got["nDCG@10"][0] == pytest.approx((3 / log3 + 1 / log5) / (3 + 2 / log3 + 1 / 2))
    assert got["Recall@100"][0] == pytest.approx(2 / 3)
    assert got["MRR@10"][0] == 0.5
    assert got["MAP"][0] == pytest.approx((1 / 2 + 2 / 4) / 3)


def test_a_query_that_was_not_answered_counts() -> None:
    got = measure({"a": {"d1": 1}, "b": {"d2": 1}}, {"a": ["d1"], "unjudged": ["d1"]})
    assert {name: list(values) for name, values in got.items()} == {
        str(metric): [1.0, 0.0] for metric in DEFAULT
    }


@pytest.mark.parametrize("name", ["ndcg@10", "nDCG@0", "Recall", "P@5", "nDCG@ten", ""])
def test_an_unknown_metric_is_told(name: str) -> None:
    with pytest.raises(InvalidInput, match="give one such as nDCG@10"):
        metric_named(name)
