"""Tuning: quick metrics are the slow ones', planted weights are found, noise is called noise."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from evaluation.measuring.metrics import DEFAULT, measure, metric_named
from evaluation.measuring.significance import SEED
from evaluation.scores.ranking import rankings
from evaluation.scores.raw import RawScores
from evaluation.tuning.fitting import FOLDS, tune
from evaluation.tuning.places import Places
from evaluation.tuning.simplex import around, grid
from evaluation.tuning.staging import cost, staged
from m3.errors import InvalidInput
from scoring.fusion import METHOD_WEIGHTS, Method, Weights, fuse, ranked
from tests.evaluation.drawn import drawn, judgments

NDCG = metric_named("nDCG@10")
METRICS = [*DEFAULT, metric_named("nDCG@3"), metric_named("MAP@7"), metric_named("MRR")]
TRIPLES = [(1, 0.3, 1), (1, 0, 0), (0, 1, 0), (0.2, 0.2, 0.6), (1, 1, 1)]


@pytest.mark.parametrize(
    ("chunks", "levels", "method"),
    list(itertools.product((1, 3), (0, 3), (Method.FUSION, Method.DENSE))),
)
def test_places_give_what_whole_rankings_give(chunks: int, levels: int, method: Method) -> None:
    """By ir-measures, whose definitions are trec_eval's; ties, several chunks a document."""
    rng = np.random.default_rng(chunks * 10 + levels)
    raw = drawn(rng, queries=12, candidates=120, chunks=chunks, levels=levels)
    qrels = judgments(rng, raw, relevant=60)
    qrels = {
        "unanswered": {"d1": 1},
        **dict(list(qrels.items())[:-1]),
        "nothing": {"d1": 0, "d2": -1},
    }
    # Fewer relevant ones than any metric looks at, and others that are worse than not relevant.
    found = [raw.documents[owner] for owner in raw.owners[raw.chunks[:30]]]
    qrels["q0"] = dict.fromkeys(found, -1) | {found[0]: 1}
    for metric in METRICS:
        quick = Places(raw, qrels, metric, method).values(np.array(TRIPLES))
        for values, triple in zip(quick, TRIPLES, strict=True):
            run = rankings(raw, method, Weights(*triple))
            slow = measure(qrels, {q: r.documents for q, r in run.items()}, [metric])[str(metric)]
            assert values == pytest.approx(slow, abs=1e-6), (metric, triple)
            assert slow.any()


def test_metrics_look_no_deeper_than_the_scores() -> None:
    raw = drawn(np.random.default_rng(1), queries=3, candidates=9)
    with pytest.raises(InvalidInput, match="nDCG@10 looks deeper than the 8"):
        Places(raw, {"q0": {"d1": 1}}, NDCG)


def test_the_grid_is_all_weights() -> None:
    weights = grid(Method.FUSION, 40)
    assert len(weights) == 861
    assert np.allclose(weights.sum(axis=1), 1)
    assert len(np.unique(weights, axis=0)) == 861
    two = grid(Method.DENSE_SPARSE, 4)
    assert two.tolist() == [[i / 4, 1 - i / 4, 0] for i in range(5)]
    near = around(np.array([0.5, 0.25, 0.25]), Method.FUSION, 40, 5)
    assert np.abs(near - [0.5, 0.25, 0.25]).max() == pytest.approx(0.025)
    assert len(near) == 91


def planted(
    rng: np.random.Generator, raw: RawScores, weights: tuple[float, float, float], noise: float
) -> dict[str, dict[str, int]]:
    """The three documents are relevant that weights put first, or nearly."""
    fused = fuse(raw.scores, Weights(*weights)) + noise * rng.standard_normal(len(raw.scores))
    qrels: dict[str, dict[str, int]] = {}
    for i, query in enumerate(raw.queries):
        rows = np.arange(raw.offsets[i], raw.offsets[i + 1])
        best = rows[np.argsort(-fused[rows])[:3]]
        qrels[query] = {raw.documents[owner]: 1 for owner in raw.owners[raw.chunks[best]]}
    return qrels


@pytest.mark.parametrize("weights", [(0.2, 0.7, 0.1), (0.1, 0.1, 0.8), (0.6, 0.1, 0.3)])
def test_planted_weights_are_found(weights: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(5)
    raw = drawn(rng, queries=120, candidates=60)
    raw = replace(raw, ranks=raw.ranks + 1, depth=60)
    tuned = tune(raw, planted(rng, raw, weights, noise=0.02), NDCG)
    assert tuned.weights.as_tuple() == pytest.approx(weights, abs=0.05)
    assert tuned.gain
    assert tuned.held_out.interval[0] > 0
    assert tuned.fitted > tuned.held_out.a


def test_weights_are_found_between_the_steps_of_the_first_grid() -> None:
    rng = np.random.default_rng(11)
    raw = drawn(rng, queries=60, candidates=60)
    raw = replace(raw, ranks=raw.ranks + 1, depth=60)
    tuned = tune(raw, planted(rng, raw, (0.21, 0.68, 0.11), noise=0), NDCG)
    assert tuned.fitted == pytest.approx(1)


def test_where_nothing_is_to_be_gained_it_is_called_noise() -> None:
    """Judgments that no score knows of, and those that the weights in use made."""
    rng = np.random.default_rng(6)
    raw = drawn(rng, queries=120, candidates=60)
    unknowable = tune(raw, judgments(rng, raw, relevant=5), NDCG)
    assert unknowable.held_out.noise
    assert unknowable.held_out.b < unknowable.fitted, "queries unseen were fitted to"
    assert not unknowable.gain
    default = (1 / 2.3, 0.3 / 2.3, 1 / 2.3)
    as_it_is = tune(raw, planted(rng, raw, default, noise=0.1), NDCG)
    assert not as_it_is.gain


def test_queries_that_are_held_out_have_no_say_in_what_they_are_measured_by() -> None:
    """Judge one fold's queries anew: its weights stay, those of the others need not."""
    rng = np.random.default_rng(8)
    raw = drawn(rng, queries=30, candidates=40)
    qrels = planted(rng, raw, (0.2, 0.7, 0.1), noise=0.1)
    folds = tune(raw, qrels, NDCG).folds
    fold_of = np.random.default_rng(SEED).permutation(len(qrels)) % FOLDS
    others = planted(rng, raw, (0.1, 0.1, 0.8), noise=0.1)
    for number, fold in enumerate(folds):
        anew = {
            query: others[query] if of == number else grades
            for of, (query, grades) in zip(fold_of, qrels.items(), strict=True)
        }
        again = tune(raw, anew, NDCG).folds
        assert again[number] == fold
        assert again != folds


def test_what_is_gained_is_gained_against_the_weights_in_use() -> None:
    rng = np.random.default_rng(9)
    raw = drawn(rng, queries=30, candidates=40)
    qrels = planted(rng, raw, (0.2, 0.7, 0.1), noise=0.1)
    now = Weights(1, 0, 0)
    tuned = tune(raw, qrels, NDCG, default=now)
    assert tuned.default == now
    by_now = Places(raw, qrels, NDCG).values(np.array([now.as_tuple()])).mean()
    assert tuned.held_out.a == pytest.approx(by_now)
    assert tuned.gain
    held = tuned.held_out
    for noise, difference in ((True, 0.1), (False, -0.1), (True, -0.1)):
        told = replace(held, noise=noise, difference=difference)
        assert not replace(tuned, held_out=told).gain


def test_of_equally_good_weights_the_one_amid_them_is_taken() -> None:
    """Scores that all agree: every weight is as good, and an edge would be an accident."""
    raw = drawn(np.random.default_rng(10), queries=10, candidates=30)
    raw = replace(raw, scores=np.repeat(raw.scores[:, :1], 3, axis=1))
    tuned = tune(raw, planted(np.random.default_rng(1), raw, (1, 1, 1), noise=0.1), NDCG)
    assert tuned.weights.as_tuple() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert tuned.held_out.noise


def test_what_cannot_be_tuned_is_told() -> None:
    raw = drawn(np.random.default_rng(1), queries=12, candidates=20)
    with pytest.raises(InvalidInput, match=r"colbert has no weights .* dense\+sparse and fusion"):
        tune(raw, {}, NDCG, Method.COLBERT)
    with pytest.raises(InvalidInput, match="1 judged query: tuning needs 10"):
        tune(raw, {"q0": {"d1": 1}}, NDCG)


@pytest.mark.parametrize("weights", [METHOD_WEIGHTS[Method.FUSION], Weights(0, 0, 1)])
def test_two_stages_rank_the_best_without_colbert(weights: Weights) -> None:
    rng = np.random.default_rng(3)
    raw = drawn(rng, queries=12, candidates=30, levels=4)
    own = weights.without({"colbert"}) or METHOD_WEIGHTS[Method.DENSE_SPARSE]
    kept = staged(raw, weights, 7)
    assert np.diff(kept.offsets).tolist() == [7] * 12
    for begin, end, first in zip(raw.offsets, raw.offsets[1:], kept.offsets, strict=False):
        chunks = raw.chunks[begin:end]
        ids = [raw.ids[chunk] for chunk in chunks]
        best = ranked(fuse(raw.scores[begin:end], own), ids)[:7]
        assert kept.chunks[first : first + 7].tolist() == chunks[sorted(best)].tolist()
    qrels = judgments(rng, raw, relevant=20)
    assert cost(raw, qrels, NDCG, weights, 30).difference == 0
    assert cost(raw, qrels, NDCG, weights, 7).ties < 12
