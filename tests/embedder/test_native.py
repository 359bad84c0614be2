"""Our own kernels compute the model, nearly, and the same bits in every batch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from embedder.encoders.arithmetic import Arithmetic
from embedder.encoders.encoder import Pause, encode
from embedder.encoders.headed import HeadedEncoder, States
from embedder.encoders.native.binding import avx2, library
from embedder.encoders.native.linears import Int8Linears
from embedder.encoders.native.transformer import NativeTransformer
from embedder.encoders.transfer import Bus
from embedder.encoders.transformer import Transformer
from embedder.model.checkpoint import Checkpoint, open_checkpoint
from m3.errors import InvalidConfiguration
from m3.types import OUTPUTS
from tests.embedder.checkpoints import write_xlm_roberta
from tests.embedder.texts import real_texts

CPU = torch.device("cpu")
Engine = Literal["bf16", "int8", "int8 on AVX2"]
FAITHFUL: dict[Engine, tuple[float, float]] = {
    "bf16": (0.999, 0.9999),
    "int8": (0.99, 0.998),
    "int8 on AVX2": (0.99, 0.998),
}
"""Cosine of a token's hidden state to that of fp32: of the worst token, and of the mean."""
RUNS: dict[Engine, bool] = {
    "bf16": library() is not None,
    "int8": library() is not None,
    "int8 on AVX2": avx2() is not None,
}
"""Here: built, and on a processor that has its instructions."""


def engines(*names: Engine) -> pytest.MarkDecorator:
    """Of these the ones that run here."""
    marks = {
        name: pytest.mark.skipif(not RUNS[name], reason=f"{name} does not run") for name in names
    }
    return pytest.mark.parametrize("engine", [pytest.param(n, marks=marks[n]) for n in names])


every_engine = engines(*FAITHFUL)
any_engine = engines(next((name for name in FAITHFUL if RUNS[name]), "bf16"))
"""For what engines share."""


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


def native(checkpoint: Checkpoint, engine: Engine, folder: Path, threads: int = 2) -> States:
    if engine == "int8 on AVX2":
        linears = Int8Linears(checkpoint, threads=threads, folder=folder)
        return Transformer(checkpoint, Arithmetic.choose("fp32", CPU), Bus(CPU), linears=linears)
    return NativeTransformer(checkpoint, engine, threads=threads, folder=folder)


loaded = cache(native)


def states_of(states: States, ids: Sequence[Sequence[int]], pause: Pause | None = None) -> Tensor:
    with torch.inference_mode():
        return states(ids, pause)


def fp32(checkpoint: Checkpoint, ids: Sequence[Sequence[int]]) -> Tensor:
    return states_of(Transformer(checkpoint, Arithmetic.choose("fp32", CPU), Bus(CPU)), ids)


def assert_faithful(found: Tensor, exact: Tensor, engine: Engine) -> None:
    least, mean = FAITHFUL[engine]
    cosines = torch.cosine_similarity(found, exact, dim=1)
    assert float(cosines.min()) > least
    assert float(cosines.mean()) > mean


@every_engine
def test_hidden_states_are_those_of_fp32(checkpoint, folder, data, engine):
    ids = [text.ids for text in checkpoint.tokenizer.tokenize(real_texts(data, 14), 512)]
    found = states_of(native(checkpoint, engine, folder), ids)
    assert_faithful(found, fp32(checkpoint, ids), engine)


@every_engine
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 1000])
def test_xlm_roberta_of_any_length(long, folder, engine, length):
    assert_faithful_at(length, long, engine, folder)


@engines("bf16", "int8")
def test_our_own_attention_over_the_longest_text(long, folder, engine):
    assert_faithful_at(8192, long, engine, folder)


def assert_faithful_at(length: int, long: Checkpoint, engine: Engine, folder: Path) -> None:
    ids = [[0, 1, *(5 + i % 90 for i in range(length))][:length], [0, 7, 2]]
    assert_faithful(states_of(native(long, engine, folder), ids), fp32(long, ids), engine)


@every_engine
@settings(max_examples=15)
@given(lengths=st.lists(st.integers(1, 150), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_neither_batch_mates_nor_threads_change_a_bit(checkpoint, folder, engine, lengths, seed):
    rng = np.random.default_rng(seed)
    ids = [rng.integers(1000, 20_000, length).tolist() for length in lengths]
    alone, crowded = loaded(checkpoint, engine, folder, 1), loaded(checkpoint, engine, folder, 3)
    together = states_of(crowded, ids)
    assert torch.isfinite(together).all()
    for text, states in zip(ids, together.split(lengths), strict=True):
        assert torch.equal(states_of(alone, [text]), states)


@every_engine
def test_a_launch_within_a_pause_disturbs_nothing(checkpoint, folder, engine):
    transformer = native(checkpoint, engine, folder)
    passage, query = [[101, *range(2000, 2300), 102]], [[101, 2054, 102]]
    expected, answer = states_of(transformer, passage), states_of(transformer, query)
    pauses: list[Tensor] = []
    found = states_of(transformer, passage, lambda: pauses.append(states_of(transformer, query)))
    assert torch.equal(found, expected)
    assert len(pauses) == checkpoint.architecture.num_hidden_layers
    assert all(torch.equal(states, answer) for states in pauses)


class _GivenUpError(Exception):
    pass


@any_engine
def test_a_pause_may_give_the_launch_up(checkpoint, folder, engine):
    transformer = native(checkpoint, engine, folder)
    query = [[101, 2054, 102]]
    expected = states_of(transformer, query)

    def give_up() -> None:
        raise _GivenUpError

    with pytest.raises(_GivenUpError):
        states_of(transformer, [[101, *range(2000, 2300), 102]], give_up)
    assert torch.equal(states_of(transformer, query), expected)


@every_engine
@pytest.mark.parametrize("spoilt", [float("inf"), float("nan")])
def test_what_is_not_finite_is_told_of_its_own_text(stand_in, tmp_path, engine, spoilt):
    copy = shutil.copytree(stand_in, tmp_path / "broken")
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name][7592] = spoilt
    save_file(weights, copy / "model.safetensors")
    checkpoint = open_checkpoint(copy)
    states = native(checkpoint, engine, tmp_path)
    encoder = HeadedEncoder(checkpoint, states, Bus(CPU), precision="int8")
    sound = [101, 2088, 102]
    encoded = encoder.launch([sound, [101, 7592, 102], sound], OUTPUTS)()
    assert encoded.unfit == {1}
    np.testing.assert_array_equal(
        encoded.batch.dense[0], encode(encoder, [sound], OUTPUTS).dense[0]
    )


@every_engine
@pytest.mark.parametrize("output", [0, 5, 127])
def test_one_weight_that_is_no_number_spoils_every_text(stand_in, tmp_path, engine, output):
    copy = shutil.copytree(stand_in, tmp_path / "broken")
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if name.endswith("1.intermediate.dense.bias"))
    weights[name][output] = float("nan")
    save_file(weights, copy / "model.safetensors")
    checkpoint = open_checkpoint(copy)
    states = native(checkpoint, engine, tmp_path)
    assert states_of(states, [[101, 2088, 102], [101, 102]]).isnan().any(dim=1).all()


@every_engine
def test_sizes_that_the_kernels_do_not_divide_are_refused(tmp_path, engine):
    checkpoint = open_checkpoint(write_xlm_roberta(tmp_path / "tiny"))
    with pytest.raises(InvalidConfiguration, match="choose fp32"):
        native(checkpoint, engine, tmp_path)


@every_engine
def test_packed_weights_are_read_from_one_file(checkpoint, tmp_path, engine):
    first = native(checkpoint, engine, tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    written = file.stat()
    second = native(checkpoint, engine, tmp_path)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)
    ids = [[101, 2054, 102]]
    assert torch.equal(states_of(first, ids), states_of(second, ids))
    # It is what its name says, for whoever wants to look, and no page of it is anyone's own.
    layers, products = checkpoint.architecture.num_hidden_layers, 4
    arrays = 4 + products * (2 if engine == "bf16" else 4)
    assert len(load_arrays(file)) == layers * arrays
    if Path("/proc/self/smaps").exists():
        assert private_bytes(file) == 0


@any_engine
def test_weights_packed_for_other_kernels_are_cleared_away(checkpoint, tmp_path, engine):
    precision = engine.split()[0]
    old = tmp_path / f"{checkpoint.fingerprint}-{precision}-0.safetensors"
    other_model = tmp_path / f"{'0' * 32}-{precision}-0.safetensors"
    for file in (old, other_model):
        file.touch()
    native(checkpoint, engine, tmp_path)
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


@engines("bf16")
def test_nodes_that_start_together_share_one_file(stand_in, tmp_path, engine):
    script = (
        "import sys; from pathlib import Path\n"
        "from embedder.model.checkpoint import open_checkpoint\n"
        "from embedder.encoders.native.transformer import NativeTransformer\n"
        f"t = NativeTransformer(open_checkpoint(Path(sys.argv[1])), '{engine}', threads=1,"
        " folder=Path(sys.argv[2]))\n"
        "print(float(t([[101, 2054, 102]]).sum()))\n"
    )
    arguments = [sys.executable, "-c", script, str(stand_in), str(tmp_path)]
    nodes = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    sums = {node.communicate(timeout=120)[0] for node in nodes}
    assert all(node.returncode == 0 for node in nodes)
    assert len(sums) == 1
    assert len([path for path in tmp_path.iterdir() if path.suffix != ".lock"]) == 1


@any_engine
def test_without_a_place_for_the_file_the_weights_are_packed_in_memory(
    checkpoint, tmp_path, engine
):
    blocked = tmp_path / "file"
    blocked.touch()
    ids = [[101, 2054, 102]]
    there = states_of(native(checkpoint, engine, tmp_path / "folder"), ids)
    assert torch.equal(states_of(native(checkpoint, engine, blocked / "folder"), ids), there)
