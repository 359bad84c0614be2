"""Generations end to end: installed commands, real nodes, a search API, others at work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.processes import COMMANDS, server
from tests.system.conftest import Machine
from tests.system.switching import NAME, Traffic, switch_under_load

SAMPLE = Path(__file__).parents[2] / "samples/xquad-en/corpus.jsonl"


@pytest.fixture
def other_model(stand_in: Path, tmp_path: Path) -> Path:
    """The stand-in with other weights for terms: another fingerprint, other vectors."""
    folder = shutil.copytree(stand_in, tmp_path / "other")
    head = torch.load(folder / "sparse_linear.pt", weights_only=True)
    torch.save({name: value * 0.5 for name, value in head.items()}, folder / "sparse_linear.pt")
    return folder


@pytest.fixture
def two_models(machine: Machine, other_model: Path) -> Iterator[Machine]:
    """A machine whose nodes serve two models, the other one first."""
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", other_model]
    with server([*arguments, "--precision", "fp32"]) as (url, _):
        yield replace(machine, node=f"{url},{machine.node}")


def seen(machine: Machine, both: Machine, documents: int, seconds: float) -> Traffic:
    corpus = machine.home.with_name("corpus.jsonl")
    corpus.write_bytes(b"".join(SAMPLE.open("rb").readlines()[:documents]))
    machine.run("m3-ingest", "run", corpus, "--collection", NAME, "--max-tokens", "64")
    arguments = [COMMANDS / "m3-search", "serve", "--port", "0"]
    with server(arguments, both.environment) as (url, _):
        traffic = switch_under_load(both, url, seconds)
        assert traffic.failures == []
        assert traffic.searches > 20
        assert len(traffic.written) > 3
        texts = traffic.texts()
        stale = [
            id_ for id_, text in traffic.written.items() if text[:25] != texts.get(id_, "")[:25]
        ]
        assert stale == []
        both.run("m3-ingest", "verify", NAME)
    return traffic


def test_another_model_and_other_chunks_take_over_under_load(machine, two_models):
    seen(machine, two_models, 20, 0)


@pytest.mark.drill
def test_another_model_and_other_chunks_take_over_under_long_load(machine, two_models):
    seen(machine, two_models, 240, float(os.environ.get("DRILL_SECONDS", "30")))
