"""Rates and quantiles between two looks at /metrics, and what does not answer."""

from __future__ import annotations

import asyncio
import math

import pytest
from prometheus_client import parser

from admin.fleet import Sample, Watched, now, watch
from m3.errors import InvalidInput, Unreachable
from m3.settings import load_settings


def sample(at: float, text: str) -> Sample:
    values = {
        (each.name, frozenset(each.labels.items())): each.value
        for family in parser.text_string_to_metric_families(text)
        for each in family.samples
    }
    return Sample(at, values)


def histogram(to_10: int, to_20: int, beyond: int) -> str:
    lines = [f'{{le="10.0"}} {to_10}', f'{{le="20.0"}} {to_20}', f'{{le="+Inf"}} {beyond}']
    return "# TYPE wait histogram\n" + "".join(f"wait_bucket{line}\n" for line in lines)


def counter(queries: int, passages: int = 0) -> str:
    return (
        f'# TYPE done counter\ndone_total{{lane="query"}} {queries}\n'
        f'done_total{{lane="passage"}} {passages}\n'
    )


def test_a_rate_is_what_was_added_a_second() -> None:
    watched = Watched("x", [sample(1, counter(10, 1)), sample(3, counter(30, 1))])
    assert watched.rate("done_total").values == [10]
    assert watched.rate("done_total", lane="query").values == [10]
    assert watched.rate("done_total", lane="passage").values == [0]
    assert watched.rate("nowhere_total").values == [0]


def test_a_process_that_began_anew_counts_from_nothing() -> None:
    watched = Watched("x", [sample(0, counter(100)), sample(2, counter(6))])
    assert watched.rate("done_total").values == [3]


def test_a_quantile_is_of_what_came_between_two_looks() -> None:
    """Ten more: six to 10, four from 10 to 20."""
    watched = Watched(
        "x", [sample(0, histogram(100, 100, 100)), sample(1, histogram(106, 110, 110))]
    )
    assert watched.quantile(0.5, "wait").values == [pytest.approx(10 * 5 / 6)]
    assert watched.quantile(0.95, "wait").values == [pytest.approx(10 + 10 * 3.5 / 4)]


def test_a_quantile_beyond_the_last_bucket_is_its_end_and_of_nothing_is_nothing() -> None:
    looks = [sample(i, histogram(0, 0, 10 * i)) for i in range(2)]
    assert Watched("x", looks).quantile(0.5, "wait").values == [20]
    assert math.isnan(Watched("x", [looks[1], looks[1]]).quantile(0.5, "wait").values[0])


def test_the_last_look_as_a_table() -> None:
    text = 'm3_queue_tokens{lane="query"} 7\nm3_queue_tokens{lane="passage"} 5\n'
    looks = [sample(0, text), sample(1, text)]
    [row] = now({"node": Watched("node", looks)}).rows
    assert (row[0], row[2]) == ("node", 12)


def test_what_does_not_answer_is_told() -> None:
    settings = load_settings(embedder_url="http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="no metrics at http"):
        asyncio.run(watch(settings, search_url="http://127.0.0.1:9", seconds=1))
    with pytest.raises(InvalidInput, match="seconds must be at least"):
        asyncio.run(watch(settings, search_url="http://127.0.0.1:9", seconds=0.5, every=1))
