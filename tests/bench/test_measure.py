"""What a result says of itself."""

from __future__ import annotations

import json

import pytest

from bench.measure import RESULTS, processor

ZEN_4 = (
    "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n"
    "model name\t: AMD EPYC\nstepping\t: 1\n"
)
GRAVITON = "processor\t: 0\nBogoMIPS\t: 2100.00\nmodel name\t: Neoverse-V1\n"


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (f"{ZEN_4}\n{ZEN_4.replace('17', '1')}", "AMD EPYC, family 25, model 17"),
        (GRAVITON, "Neoverse-V1"),
    ],
)
def test_a_processor_is_told_from_others_of_its_name(cpuinfo: str, name: str) -> None:
    assert processor(cpuinfo) == name


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_result_is_saved_under_its_name(path) -> None:
    assert json.loads(path.read_bytes())["name"] == path.stem
    assert "_" not in path.stem
