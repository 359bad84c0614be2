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
LAYERS = 6 * 12 * 384 * 384 * 4
"""Bytes of the stand-in's linear weights."""

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
    pages = mapped(weights)
    assert pages["Rss"] > LAYERS, "read from the map"
    assert pages["Anonymous"] == 0, "none was written to, which would make it a copy"


@linux
def test_bf16_leaves_the_words_in_their_file(weights):
    encoder = PackedEncoder(open_checkpoint(weights.parent), "bf16", CPU)
    encode(encoder, [[101, *range(2000, 2100), 102]], OUTPUTS)
    words = encoder._transformer._words
    assert words.dtype is torch.float32
    assert mapped(weights)["Anonymous"] == 0


def test_a_file_that_cannot_be_mapped_is_read(tmp_path):
    file = tmp_path / "old.bin"
    torch.save({"x": torch.arange(3)}, file, _use_new_zipfile_serialization=False)
    assert read_tensors(file)["x"].tolist() == [0, 1, 2]


def mapped(file: Path) -> dict[str, int]:
    """Bytes of this process's maps of a file."""
    totals = {"Rss": 0, "Anonymous": 0}
    ours = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            ours = line.endswith(str(file))
        elif ours and name[:-1] in totals:
            totals[name[:-1]] += int(rest[0]) * 1024
    return totals
