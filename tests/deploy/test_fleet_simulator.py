"""`bench fleet`: what can be said of its answers without another simulator."""

from __future__ import annotations

import pytest

from bench.fleet import POLICIES, Work, by_chance, figures, mix, simulate


def work(load: float, nodes: int, count: int = 3030) -> Work:
    lengths = mix(100, (100, 8000), count, seed=0)
    seconds = [tokens / 1000 for tokens in lengths]
    return Work(by_chance(load * nodes * count / sum(seconds), count, seed=0), lengths, seconds)


def waits(given: Work, nodes: int, policy: str) -> float:
    """Seconds that 99 of 100 wait at most."""
    return figures(given, simulate(given, nodes, POLICIES[policy]))["waits p99 s"]


def test_one_in_so_many_is_long():
    lengths = mix(100, (100, 8000), 1010, seed=0)
    assert lengths.count(8000) == 10
    assert all(lengths[i : i + 101].count(8000) == 1 for i in range(0, 1010, 101))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_lonely_request_takes_its_own_time(policy):
    given = Work([0.0, 100.0], [10, 20], [1.0, 2.0])
    assert simulate(given, 3, POLICIES[policy]) == [(1.0, 10), (2.0, 20)]


@pytest.mark.parametrize("policy", POLICIES)
def test_with_one_node_there_is_nothing_to_choose(policy):
    given = work(0.7, 1)
    assert simulate(given, 1, POLICIES[policy]) == simulate(given, 1, POLICIES["least tokens"])


def test_requests_wait_for_each_other_in_their_order():
    given = Work([0.0, 0.5, 0.6], [1, 1, 1], [1.0, 1.0, 1.0])
    took = [seconds for seconds, _ in simulate(given, 1, POLICIES["least tokens"])]
    assert took == pytest.approx([1.0, 1.5, 2.4])


def test_counting_tokens_keeps_short_texts_from_waiting_for_long_ones():
    given = work(0.5, 3)
    assert waits(given, 3, "least tokens") < 0.6 * waits(given, 3, "least connections")


@pytest.mark.parametrize(("longs", "whole"), [(5, 0.6), (15, 8.5)])
def test_what_is_compared_does_not_hang_on_how_many_are_long(longs, whole):
    seconds = [0.1] * (1000 - longs) + [8.0] * longs
    given = Work([0.0] * 1000, [1] * 1000, seconds)
    found = figures(given, [(own + 0.5, 1) for own in seconds])
    assert found["p99 s"] == pytest.approx(whole)
    assert found["waits p99 s"] == pytest.approx(0.5)


def test_too_much_is_refused_and_the_rest_is_in_time():
    given = work(2.0, 3)
    outcome = simulate(given, 3, POLICIES["least tokens"], queue_seconds=5)
    answered = [seconds for seconds, _ in outcome if seconds < float("inf")]
    assert max(answered) <= 5 + 8
    # Half of what comes can be done.
    assert figures(given, outcome)["goodput %"] == pytest.approx(50, abs=8)
