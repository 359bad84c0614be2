"""Sizes are what the codec writes, and docs/scale.md says what the command prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pymilvus import DataType
from typer.testing import CliRunner

from commands.ingest.plan import _count
from ingest.estimate import table_bytes
from ingest.running.report import Report
from ingest.sizing import Load, size
from m3.codec import encode_tokens
from m3.errors import InvalidInput
from m3.types import Codec
from store.index.index import index_schema
from store.spec import CollectionSpec

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
DENSE_BYTES = {DataType.FLOAT16_VECTOR: 2, DataType.FLOAT_VECTOR: 4}


@pytest.mark.parametrize("codec", Codec)
def test_a_token_more_costs_what_the_codec_writes(codec):
    vector = np.ones((1, 64), np.float32)
    more = [size(Load(1, tokens, codec, dimension=64)).chunk_bytes for tokens in (10, 11)]
    assert more[1] - more[0] == encode_tokens(vector, codec).nbytes + 4 + 8 + 10


def test_pooled_tokens_share_vectors():
    vector = np.ones((1, 64), np.float32)
    one, two, three = (
        size(Load(1, tokens, dimension=64, pooling=2)).chunk_bytes for tokens in (10, 11, 12)
    )
    assert two - one == encode_tokens(vector, Codec.INT8).nbytes + 4 + 4 + 8 + 10
    assert three - two == 4 + 4 + 8 + 10


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize(("embedded", "part"), [(True, "flat_bytes"), (False, "hnsw_bytes")])
def test_a_dimension_more_costs_what_the_index_keeps(codec, embedded, part):
    spec = CollectionSpec("model", "fingerprint", "fp32", 64, codec)
    fields = index_schema(spec, embedded=embedded).fields
    [kept] = [DENSE_BYTES[field.dtype] for field in fields if field.name == "dense"]
    one, two = (getattr(size(Load(1, 10, codec, dimension)), part) for dimension in (64, 65))
    assert two - one == kept


def test_a_dry_run_and_a_plan_count_one_row_alike():
    report = Report(chunks=7, tokens=70, bytes=350)
    spec = CollectionSpec("model", "fingerprint", "fp32", 64, pooling=2)
    assert table_bytes(report, spec) == size(Load(7, 10, dimension=64, pooling=2)).table_bytes


@pytest.mark.parametrize("chunks", ["1M", "100M", "1B"])
def test_the_page_says_what_is_calculated(chunks):
    sizes = {codec: size(Load(_count(chunks), 120, codec)) for codec in Codec}
    one = sizes[Codec.INT8]
    cells = [
        chunks,
        *(f"{sizes[codec].table_bytes / 1e9:,.1f} GB" for codec in Codec),
        f"{one.flat_bytes / 1e9:,.1f} GB",
        f"{one.hnsw_bytes / 1e9:,.1f} GB",
        f"{one.embedding_hours:,.1f}",
    ]
    assert f"| {' | '.join(cells)} |" in PAGE.read_text()


@pytest.mark.parametrize("wrong", ["chunks", "tokens", "nodes", "rate", "dimension", "pooling"])
def test_a_number_must_be_above_zero(wrong):
    with pytest.raises(InvalidInput, match=wrong):
        Load(**{"chunks": 1, "tokens": 1, wrong: 0})


@pytest.mark.parametrize("text", ["x", "", "-1", "1.5M", "1T"])
def test_a_count_is_a_whole_number(text):
    with pytest.raises(InvalidInput, match="whole number"):
        _count(text)


def test_people_are_told_of_the_versions_that_wait_to_be_cleaned():
    from commands.ingest import app

    answer = CliRunner().invoke(app, ["plan", "--chunks", "1M", "--tokens", "120"])
    assert "at most          256.6 GB" in answer.stdout


def test_the_command_answers_programs():
    from commands.ingest import app

    answer = CliRunner().invoke(app, ["plan", "--chunks", "2k", "--tokens", "10", "--json"])
    assert json.loads(answer.stdout)["chunks"] == 2000
