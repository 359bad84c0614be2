"""Nodes and storage by hand, and benchmark files that are not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from admin import benches
from admin.benches import Speed
from admin.capacity import PASSAGE_MIX, QUERY_MIX, Demand, nodes, parts, plan, work
from ingest.sizing import Load, size
from m3.errors import InvalidInput

RESULTS = Path(__file__).parents[2] / "bench/results"
SPEEDS = [Speed(QUERY_MIX, "bf16", 240.0), Speed(PASSAGE_MIX, "bf16", 300.0)]
DEMAND = Demand(
    queries=20, query_tokens=12, chunks_a_day=864_000, chunk_tokens=120, cores=4, share=0.8
)


def test_work_is_queries_and_passages_each_by_its_own_rate() -> None:
    """20 × 12 / 240 = 1 core; 10 chunks a second × 120 / 300 = 4 cores."""
    assert work(DEMAND, SPEEDS, "bf16") == pytest.approx(5)


@pytest.mark.parametrize(("queries", "needed"), [(0.001, 2), (20, 2), (48, 2), (49, 3)])
def test_nodes_do_the_work_with_their_share_of_the_peak(queries: float, needed: int) -> None:
    """A node has 3.2 cores to plan with: two are full at 6.4."""
    assert nodes(replace(DEMAND, queries=queries), SPEEDS, "bf16") == needed


def test_the_price_is_that_of_the_nodes() -> None:
    assert plan(DEMAND, SPEEDS, price=0.5).rows == [("bf16", 5.0, 2, 730)]


def test_a_demand_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match="queries must be a number above 0"):
        replace(DEMAND, queries=0)
    with pytest.raises(InvalidInput, match="share must be at most 1"):
        replace(DEMAND, share=1.1)


def test_the_parts_of_a_chunk_add_up_to_it() -> None:
    load = Load(chunks=1, tokens=120)
    assert sum(parts(load)["int8"].values()) == size(load).chunk_bytes
    assert parts(load)["int8"]["ColBERT"] == 120 * (1024 + 4 + 4)


def test_the_files_of_the_benchmarks_are_read() -> None:
    found = benches.speeds(RESULTS)
    assert {speed.engine for speed in found} == {"fp32", "bf16", "int8"}
    assert {QUERY_MIX, PASSAGE_MIX} <= {speed.mix for speed in found}
    assert 0 < benches.goodput(RESULTS) <= 1
    fp32 = [each for each in benches.fidelities(RESULTS) if each.engine == "fp32"]
    assert fp32
    assert all(each.loss == 0 and each.faster == 1 for each in fp32)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "run `python -m bench encode` first"), ("{}", "is not what a")]
)
def test_a_file_that_no_benchmark_wrote_is_told(
    tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "encode.json").write_text(content)
    with pytest.raises(InvalidInput, match=words):
        benches.speeds(tmp_path)
