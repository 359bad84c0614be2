"""Our own kernels compute the model, nearly, and the same bits in every batch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from embedder.encoders.arithmetic import Arithmetic
from embedder.encoders.encoder import encode
from embedder.encoders.headed import HeadedEncoder
from embedder.encoders.native.binding import library
from embedder.encoders.native.transformer import NativeTransformer
from embedder.encoders.native.weights import Arithmetic as Precision
from embedder.encoders.transfer import Bus
from embedder.encoders.transformer import Transformer
from embedder.model.checkpoint import Checkpoint, open_checkpoint
from m3.errors import InvalidConfiguration
from m3.types import OUTPUTS
from tests.embedder.checkpoints import write_xlm_roberta
from tests.embedder.texts import real_texts

pytestmark = pytest.mark.skipif(
    library() is None, reason="no kernels: they need a C compiler and AVX-512 BF16 with VNNI"
)
CPU = torch.device("cpu")
FAITHFUL: dict[Precision, tuple[float, float]] = {"bf16": (0.999, 0.9999), "int8": (0.99, 0.998)}
"""Cosine of a token's hidden state to that of fp32: of the worst token, and of the mean."""
precisions = pytest.mark.parametrize("precision", FAITHFUL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packed")


@pytest.fixture(scope="module")
def checkpoint(stand_in: Path) -> Checkpoint:
    return open_checkpoint(stand_in)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """An XLM-RoBERTa with heads of 64 dimensions that reads 8192 tokens."""
    path = tmp_path_factory.mktemp("xlm-roberta")
    return open_checkpoint(write_xlm_roberta(path, positions=8194, dimension=256))


def native(
    checkpoint: Checkpoint, precision: Precision, folder: Path, threads: int = 2
) -> NativeTransformer:
    return NativeTransformer(checkpoint, precision, threads=threads, folder=folder)


def fp32(checkpoint: Checkpoint, ids: Sequence[Sequence[int]]) -> Tensor:
    with torch.inference_mode():
        return Transformer(checkpoint, Arithmetic.choose("fp32", CPU), Bus(CPU))(ids)


def assert_faithful(found: Tensor, exact: Tensor, precision: Precision) -> None:
    least, mean = FAITHFUL[precision]
    cosines = torch.cosine_similarity(found, exact, dim=1)
    assert float(cosines.min()) > least
    assert float(cosines.mean()) > mean


@precisions
def test_hidden_states_are_those_of_fp32(checkpoint, folder, data, precision):
    ids = [text.ids for text in checkpoint.tokenizer.tokenize(real_texts(data, 14), 512)]
    assert_faithful(native(checkpoint, precision, folder)(ids), fp32(checkpoint, ids), precision)


@precisions
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 1000, 8192])
def test_xlm_roberta_of_any_length(long, folder, precision, length):
    ids = [[0, 1, *(5 + i % 90 for i in range(length))][:length], [0, 7, 2]]
    assert_faithful(native(long, precision, folder)(ids), fp32(long, ids), precision)


@precisions
@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 150), min_size=1, max_size=9), seed=st.integers(0, 99))
def test_neither_batch_mates_nor_threads_change_a_bit(checkpoint, folder, precision, lengths, seed):
    rng = np.random.default_rng(seed)
    ids = [rng.integers(1000, 20_000, length).tolist() for length in lengths]
    alone = native(checkpoint, precision, folder, threads=1)
    together = native(checkpoint, precision, folder, threads=3)(ids)
    assert torch.isfinite(together).all()
    for text, states in zip(ids, together.split(lengths), strict=True):
        assert torch.equal(alone([text]), states)


@precisions
def test_a_launch_within_a_pause_disturbs_nothing(checkpoint, folder, precision):
    transformer = native(checkpoint, precision, folder)
    passage, query = [[101, *range(2000, 2300), 102]], [[101, 2054, 102]]
    expected, answer = transformer(passage), transformer(query)
    pauses: list[Tensor] = []
    found = transformer(passage, lambda: pauses.append(transformer(query)))
    assert torch.equal(found, expected)
    assert len(pauses) == checkpoint.architecture.num_hidden_layers
    assert all(torch.equal(states, answer) for states in pauses)


class _GivenUpError(Exception):
    pass


def test_a_pause_may_give_the_launch_up(checkpoint, folder):
    transformer = native(checkpoint, "bf16", folder)
    query = [[101, 2054, 102]]
    expected = transformer(query)

    def give_up() -> None:
        raise _GivenUpError

    with pytest.raises(_GivenUpError):
        transformer([[101, *range(2000, 2300), 102]], give_up)
    assert torch.equal(transformer(query), expected)


@precisions
def test_what_is_not_finite_is_told_of_its_own_text(stand_in, tmp_path, precision):
    copy = shutil.copytree(stand_in, tmp_path / "broken")
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name][7592] = float("inf")
    save_file(weights, copy / "model.safetensors")
    checkpoint = open_checkpoint(copy)
    states = native(checkpoint, precision, tmp_path)
    encoder = HeadedEncoder(checkpoint, states, Bus(CPU), precision=precision)
    sound = [101, 2088, 102]
    encoded = encoder.launch([sound, [101, 7592, 102], sound], OUTPUTS)()
    assert encoded.unfit == {1}
    np.testing.assert_array_equal(
        encoded.batch.dense[0], encode(encoder, [sound], OUTPUTS).dense[0]
    )


def test_sizes_that_the_kernels_do_not_divide_are_refused(tmp_path):
    checkpoint = open_checkpoint(write_xlm_roberta(tmp_path / "tiny"))
    with pytest.raises(InvalidConfiguration, match="choose fp32"):
        native(checkpoint, "int8", tmp_path)


@precisions
def test_packed_weights_are_read_from_one_file(checkpoint, tmp_path, precision):
    first = native(checkpoint, precision, tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    written = file.stat()
    second = native(checkpoint, precision, tmp_path)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    ids = [[101, 2054, 102]]
    assert torch.equal(first(ids), second(ids))
    # It is what its name says, for whoever wants to look, and no page of it is anyone's own.
    assert len(load_arrays(file)) == len(first._arrays)
    if Path("/proc/self/smaps").exists():
        assert private_bytes(file) == 0


def test_weights_packed_for_other_kernels_are_cleared_away(checkpoint, tmp_path):
    old = tmp_path / f"{checkpoint.fingerprint}-bf16-0.safetensors"
    other_model = tmp_path / f"{'0' * 32}-bf16-0.safetensors"
    for file in (old, other_model):
        file.touch()
    native(checkpoint, "bf16", tmp_path)
    assert not old.exists()
    assert other_model.exists()
    assert len(list(tmp_path.glob(f"{checkpoint.fingerprint}-*.safetensors"))) == 1


def private_bytes(file: Path) -> int:
    """What this process has of a file's pages for itself alone, by having written to them."""
    ours = False
    total = 0
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        if "-" in line.split(" ", 1)[0] and ":" not in line.split(" ", 1)[0]:
            ours = line.endswith(str(file))
        elif ours and line.startswith("Private_Dirty:"):
            total += int(line.split()[1])
    return total


def test_nodes_that_start_together_share_one_file(stand_in, tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from embedder.model.checkpoint import open_checkpoint\n"
        "from embedder.encoders.native.transformer import NativeTransformer\n"
        "t = NativeTransformer(open_checkpoint(Path(sys.argv[1])), 'bf16', threads=1,"
        " folder=Path(sys.argv[2]))\n"
        "print(float(t([[101, 2054, 102]]).sum()))\n"
    )
    arguments = [sys.executable, "-c", script, str(stand_in), str(tmp_path)]
    nodes = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    sums = {node.communicate(timeout=120)[0] for node in nodes}
    assert all(node.returncode == 0 for node in nodes)
    assert len(sums) == 1
    assert len([path for path in tmp_path.iterdir() if path.suffix != ".lock"]) == 1


def test_without_a_place_for_the_file_the_weights_are_packed_in_memory(checkpoint, tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    ids = [[101, 2054, 102]]
    there = native(checkpoint, "bf16", tmp_path / "folder")(ids)
    assert torch.equal(native(checkpoint, "bf16", blocked / "folder")(ids), there)
