"""Weights are pages of their file, so that nodes of one machine have them in memory once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from embedder.encoders.encoder import encode
from embedder.encoders.packed import PackedEncoder
from embedder.model.checkpoint import open_checkpoint, read_tensors
from m3.types import OUTPUTS

CPU = torch.device("cpu")
linux = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")


@pytest.fixture(params=["model.safetensors", "pytorch_model.bin"])
def weights(request: pytest.FixtureRequest, stand_in: Path, tmp_path: Path) -> Path:
    """The weights of a stand-in that nobody else has mapped."""
    folder = shutil.copytree(stand_in, tmp_path / "checkpoint")
    if request.param.endswith(".bin"):
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return folder / request.param


@linux
def test_fp32_weights_stay_in_their_file(weights):
    encoder = PackedEncoder(open_checkpoint(weights.parent), "fp32", CPU)
    encode(encoder, [[101, *range(2000, 2100), 102]], OUTPUTS)
    layers = encoder._transformer._layers
    linear = [
        linear
        for each in (layer.linears for layer in layers)
        for linear in (*each.projections, each.mixed, each.wide, each.narrow)
    ]
    assert len(linear) == 6 * len(layers)
    spans, anonymous = maps_of(weights)
    for weight in (encoder._transformer._words, *(each.weight for each in linear)):
        assert any(weight.data_ptr() in span for span in spans), "a copy"
    assert anonymous == 0, "written to, and copied by that"


@linux
def test_bf16_leaves_the_words_in_their_file(weights):
    encoder = PackedEncoder(open_checkpoint(weights.parent), "bf16", CPU)
    encode(encoder, [[101, *range(2000, 2100), 102]], OUTPUTS)
    words = encoder._transformer._words
    assert words.dtype is torch.float32
    spans, anonymous = maps_of(weights)
    assert any(words.data_ptr() in span for span in spans)
    assert anonymous == 0


def test_a_file_that_cannot_be_mapped_is_read(tmp_path):
    file = tmp_path / "old.bin"
    torch.save({"x": torch.arange(3)}, file, _use_new_zipfile_serialization=False)
    assert read_tensors(file)["x"].tolist() == [0, 1, 2]


def maps_of(file: Path) -> tuple[list[range], int]:
    """The addresses where this process has a file, and the bytes there that are its own."""
    spans: list[range] = []
    anonymous, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            ours = line.endswith(str(file))
            if ours:
                start, stop = (int(bound, 16) for bound in name.split("-"))
                spans.append(range(start, stop))
        elif ours and name == "Anonymous:":
            anonymous += int(rest[0]) * 1024
    return spans, anonymous
