"""What is said of queries without judgments, on scores that can be counted by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from evaluation.scores.ranking import Ranking
from evaluation.scores.raw import RawScores, collect
from evaluation.unjudged.analysis import Weak, analyse, moves
from evaluation.unjudged.drift import drift, overlap
from evaluation.unjudged.duplicates import Duplicates, shingles, similarity
from m3.errors import InvalidInput
from m3.types import Chunk, Codec, Document
from scoring.fusion import Weights
from search.service import SearchService
from store.chunks import DocumentRows
from store.memory import MemoryStore
from tests.evaluation.drawn import drawn
from tests.search.library import COLLECTION, KnownQueries, example, spec


def by_hand() -> RawScores:
    """One query, four documents: a and b in both legs, c in dense alone, d in sparse alone."""
    return RawScores(
        queries=("q", "nothing"),
        offsets=np.array([0, 4, 4]),
        scores=np.array(
            [[0.9, 0.1, 0.2], [0.8, 0.4, 0.9], [0.7, 0.0, 0.8], [0.1, 0.5, 0.1]], np.float32
        ),
        ranks=np.array([[1, 3], [2, 2], [3, 0], [0, 1]], np.int32),
        chunks=np.arange(4, dtype=np.int32),
        ids=("s/a#0", "s/b#0", "s/c#0", "s/d#0"),
        owners=np.arange(4, dtype=np.int32),
        documents=("a", "b", "c", "d"),
        depth=10,
    )


def test_by_hand() -> None:
    texts = {"q": "bread", "nothing": "???"}
    found = analyse(by_hand(), texts, weights=Weights(1, 0, 1), good=0.86)
    assert found.overlap == {10: pytest.approx(2 / 3, abs=1e-4)}
    assert (found.found.both, found.found.dense_alone, found.found.sparse_alone) == (
        0.5,
        0.25,
        0.25,
    )
    # Dense and sparse (1, .3) have a, b, c, d in this order; with ColBERT it is b, c, a, d.
    assert found.colbert.first_changed == 0.5
    assert found.colbert.places == [0.15, 0.75, 1, 1.25, 1.85]
    assert found.scores["colbert"][2] == pytest.approx(0.5)
    assert [each.query for each in found.weakest] == ["nothing", "q"]
    assert found.weak == [Weak("nothing", "???", None), Weak("q", "bread", pytest.approx(0.85))]
    assert len(analyse(by_hand(), texts, weights=Weights(1, 0, 1), good=0.8).weak) == 1


def test_a_weak_query_is_one_that_falls_out_of_the_usual() -> None:
    rng = np.random.default_rng(1)
    raw = drawn(rng, queries=50, candidates=40)
    texts = {query: query for query in raw.queries}
    scores = raw.scores.copy()
    scores[raw.query_numbers() == 7] *= 0.3
    found = analyse(replace(raw, scores=scores), texts)
    assert "q7" in [each.query for each in found.weak]
    assert found.weakest[0].query == "q7"
    assert len(found.weak) < 5


def test_what_moves_is_counted_in_places() -> None:
    ids = [f"d{i:02}" for i in range(20)]
    before = {"q": Ranking(ids, [0.0] * 20)}
    after = {"q": Ranking(["d15", *ids[:15], *ids[16:]], [0.0] * 20)}
    found = moves(before, after)
    assert (found.first_changed, found.brought_in) == (1, 0.1)
    assert found.places == [1, 1, 1, 1, pytest.approx(1 + 0.55 * 14, abs=1)]


def test_rank_biased_overlap_is_the_papers() -> None:
    assert overlap("abcdefg", "abcdefg") == pytest.approx(1)
    assert overlap("abc", "xyz") == 0
    assert overlap("", "") == 1
    assert overlap("a", "") == 0
    # Two of one length: (1 - p) / p · Σ p^d X_d / d + p^l X_l / l.
    by_formula = 0.1 / 0.9 * (0.9 * 0 + 0.81 * 2 / 2 + 0.729 * 2 / 3) + 0.729 * 2 / 3
    assert overlap("abc", "bax") == pytest.approx(by_formula)
    # What the longer one has beyond the end of the shorter one changes nothing if it agrees so far.
    assert overlap("abc", "abcdef") == pytest.approx(1)
    assert overlap("abc", "abcdef") == overlap("abcdef", "abc")
    assert overlap("abcdefgh", "bacdefgh") > overlap("abcdefgh", "abcdefhg") - 0.2
    assert overlap("abcdefgh", "bacdefgh") < overlap("abcdefgh", "abcdefhg")


def test_drift_names_the_queries_that_changed_most() -> None:
    same, other = Ranking(["a", "b"], [1, 0]), Ranking(["x", "b"], [1, 0])
    found = drift({"1": same, "2": same, "3": same}, {"1": same, "2": other})
    assert (found.queries, found.first_changed) == (2, 0.5)
    assert [each.query for each in found.most] == ["2", "1"]
    assert 0 < found.overlap < 1
    with pytest.raises(InvalidInput, match="no query in common"):
        drift({"1": same}, {"2": same})


def test_hits_that_say_the_same_are_pairs() -> None:
    text = "Bakers bake bread of flour, water and some salt every day of the week"
    texts = {"a": text, "b": f"{text.upper()}!", "c": "Boats lie in the harbour when it storms"}
    store = MemoryStore()
    store.create(COLLECTION, spec()).replace(
        [
            DocumentRows(Document(id_, text), "hash", [Chunk(0, text, 0, 1)], [example(i)])
            for i, (id_, text) in enumerate(texts.items())
        ]
    )
    service = SearchService(store, KnownQueries({"q": example(1, Codec.FP32)}))
    found = Duplicates()
    asyncio.run(collect(service, {"1": "q"}, COLLECTION, on_look=found.see))
    assert [({pair.a, pair.b}, pair.alike) for pair in found.pairs] == [
        ({"default/a#0", "default/b#0"}, 1.0)
    ]
    assert found.queries() == ["1"]
    assert similarity(shingles("a b c d"), shingles("a b c e")) == pytest.approx(1 / 3)
    assert similarity(shingles(""), shingles("")) == 0
    assert shingles("One two") == {("one", "two")}
