"""What a GPU does otherwise than a CPU, on a CPU: one attention over all texts, and graphs.

The attention kernel is stood in for by one that reads the same arguments; a graph by its
computation, run again into the same tensor.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from embedder.encoders import transformer
from embedder.encoders.arithmetic import Arithmetic
from embedder.encoders.attention import varlen_kernel
from embedder.encoders.encoder import encode
from embedder.encoders.graphs import SIZES, TEXTS, Graphs, cuda_capture
from embedder.encoders.packed import PackedEncoder
from embedder.encoders.packing import Packing
from embedder.encoders.transfer import Bus
from embedder.encoders.transformer import Transformer
from embedder.model.checkpoint import Architecture, Checkpoint, open_checkpoint
from m3.types import OUTPUTS
from tests.embedder.checkpoints import write_xlm_roberta

CPU = torch.device("cpu")
FP32 = Arithmetic("fp32", torch.float32)
texts = st.lists(
    st.lists(st.integers(1, 99), max_size=38).map(lambda middle: [0, *middle, 2]),
    min_size=1,
    max_size=40,
)


def kernel(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, longest: int) -> Tensor:
    """`varlen_attn`, as its documentation has it."""
    assert offsets.dtype is torch.int32
    bounds = offsets.tolist()
    assert bounds[0] == 0
    assert bounds[-1] == len(q)
    result = torch.full_like(q, float("nan"))
    for start, stop in pairwise(bounds):
        assert 0 <= stop - start <= longest
        if stop > start:
            one = (part[start:stop].transpose(0, 1) for part in (q, k, v))
            result[start:stop] = torch.nn.functional.scaled_dot_product_attention(*one).transpose(
                0, 1
            )
    return result


def again(compute):
    """A capture that holds what a CUDA graph does: shapes, and where tensors lie."""
    states = compute()
    return lambda: states.copy_(compute()), states


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(write_xlm_roberta(tmp_path_factory.mktemp("xlm")))


@pytest.fixture(scope="module")
def plain(checkpoint: Checkpoint) -> Transformer:
    return Transformer(checkpoint, FP32, Bus(CPU))


@pytest.fixture(scope="module")
def varlen(checkpoint: Checkpoint) -> Transformer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformer, "varlen_kernel", lambda *_: kernel)
        return Transformer(checkpoint, FP32, Bus(CPU))


@pytest.fixture(scope="module")
def captured(checkpoint: Checkpoint) -> Transformer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformer, "varlen_kernel", lambda *_: kernel)
        patch.setattr(transformer, "cuda_capture", lambda _: again)
        return Transformer(checkpoint, FP32, Bus(CPU), graphs=True)


@settings(max_examples=15)
@given(texts)
def test_one_call_over_all_texts_gives_what_runs_give(plain, varlen, given_texts):
    with torch.inference_mode():
        torch.testing.assert_close(varlen(given_texts), plain(given_texts), atol=2e-5, rtol=0)


@settings(max_examples=15)
@given(texts)
def test_a_graph_gives_what_runs_give(plain, captured, given_texts):
    with torch.inference_mode():
        torch.testing.assert_close(captured(given_texts), plain(given_texts), atol=2e-5, rtol=0)


def test_a_graph_replays_the_texts_of_now(captured, plain):
    first, second = [[0, 9, 2]], [[0, 5, 6, 7, 2], [0, 8, 2]]
    with torch.inference_mode():
        one, two = captured(first), captured(second)
        torch.testing.assert_close(one, plain(first), atol=2e-5, rtol=0)
        torch.testing.assert_close(two, plain(second), atol=2e-5, rtol=0)


def test_what_fills_a_graph_up_is_told_as_padding(captured, plain):
    for tokens in (2, 15, 16, 17, 512, 513):
        text = [0, *[5] * (tokens - 2), 2]
        size = next((size for size in SIZES if size >= tokens), tokens)
        assert captured.padding([text]) == size - tokens
        assert plain.padding([text]) == 0
    assert captured.padding([[0, 2]] * TEXTS) == 0


def test_only_short_batches_are_replayed(checkpoint):
    replays: list[int] = []

    def capture(compute):
        states = compute()
        return lambda: replays.append(len(states)), states

    def forward(ids: Tensor, positions: Tensor, offsets: Tensor, longest: int) -> Tensor:
        assert len(ids) == len(positions) == longest
        assert len(offsets) == TEXTS + 1
        return torch.zeros(len(ids), 4)

    replay = Graphs(forward, Bus(CPU), capture)
    architecture = checkpoint.architecture

    def states(lengths: list[int]) -> Tensor | None:
        return replay(Packing.of([[0] * length for length in lengths], architecture))

    assert states([16]) is not None
    assert states([16, 1]) is not None
    assert states([2] * (TEXTS - 1)) is not None
    assert replays == [16, 32, 64]
    assert states([2] * TEXTS) is None, "no text is left for the padding"
    assert states([SIZES[-1] + 1]) is None
    assert len(replays) == 3


def test_all_sizes_are_captured_on_one_stream(monkeypatch):
    """Each stream that multiplies takes memory of its own."""
    cuda = MagicMock()
    monkeypatch.setattr(torch, "cuda", cuda)
    capture = cuda_capture(torch.device("cuda", 0))
    for _ in SIZES:
        capture(lambda: torch.zeros(1))
    (stream,) = {id(call.args[0]) for call in cuda.stream.call_args_list}
    assert {id(call.kwargs["stream"]) for call in cuda.graph.call_args_list} == {stream}
    assert cuda.Stream.call_count == 1


def test_the_engine_names_attention_and_graphs(plain, varlen, captured):
    assert "attention per length, CUDA graphs off" in plain.engine
    assert "variable-length attention, CUDA graphs off" in varlen.engine
    assert "variable-length attention, CUDA graphs on" in captured.engine


def test_graphs_without_their_attention_are_off(checkpoint):
    assert "CUDA graphs off" in PackedEncoder(checkpoint, "fp32", CPU, graphs=True).engine


@settings(max_examples=50)
@given(texts, st.integers(0, 20), st.integers(1, 5))
def test_padding_is_a_text_of_its_own(given_texts, more, empty):
    architecture = Architecture("xlm-roberta", 32, 2, 4, 64, 1e-5, 66, 1)
    packing = Packing.of(given_texts, architecture)
    tokens, n = len(packing.ids), len(packing.lengths)
    padded = packing.padded(tokens + more, n + empty)
    assert len(padded.ids) == len(padded.positions) == tokens + more
    assert padded.offsets[: n + 1].tolist() == packing.offsets.tolist()
    assert padded.offsets[n + 1 :].tolist() == [tokens + more] * empty
    assert np.array_equal(padded.ids[padded.restore], np.concatenate(given_texts))
    assert sum(count * length for _, count, length in padded.runs) == tokens + more


@pytest.mark.parametrize(
    ("capability", "dtype", "head", "there"),
    [
        ((8, 0), torch.bfloat16, 64, True),
        ((9, 0), torch.float16, 64, True),
        ((7, 5), torch.float16, 64, False),
        ((9, 0), torch.float32, 64, False),
        ((9, 0), torch.bfloat16, 512, False),
        ((9, 0), torch.bfloat16, 12, False),
    ],
)
def test_the_kernel_is_used_where_it_works(monkeypatch, capability, dtype, head, there):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    assert (varlen_kernel(torch.device("cuda", 0), dtype, head) is not None) == there
    assert varlen_kernel(CPU, dtype, head) is None


def test_the_kernel_gets_offsets_longest_and_unsplit_keys(monkeypatch):
    seen: list[tuple[object, ...]] = []

    def varlen_attn(*arguments, num_splits):
        seen.append((*arguments, num_splits))
        return arguments[0]

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    found = varlen_kernel(torch.device("cuda", 0), torch.bfloat16, 64)
    assert found is not None
    q, k, v, offsets = (torch.zeros(3, 1, 8) + i for i in range(4))
    assert found(q, k, v, offsets, 7) is q
    ((*tensors, longest_q, longest_k, splits),) = seen
    assert [id(t) for t in tensors] == [id(t) for t in (q, k, v, offsets, offsets)]
    assert (longest_q, longest_k, splits) == (7, 7, 1)


def test_a_launch_may_begin_between_the_layers_of_another(checkpoint):
    encoder = PackedEncoder(checkpoint, "fp32", CPU)
    long, short = [[0, *range(5, 50), 2]], [[0, 7, 2]]
    inner = []
    outer = encoder.launch(
        long, OUTPUTS, pause=lambda: inner.append(encode(encoder, short, OUTPUTS))
    )
    alone = encode(encoder, long, OUTPUTS)
    assert outer().batch.dense.tolist() == alone.dense.tolist()
    assert len(inner) == 2
    assert inner[0].dense.tolist() == encode(encoder, short, OUTPUTS).dense.tolist()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_results_on_their_way_are_not_overwritten(stand_in: Path):
    encoder = PackedEncoder(open_checkpoint(stand_in), graphs=True)
    batches = [[[101, 2000 + i, 102]] * 4 for i in range(50)]
    waiting = [encoder.launch(ids, OUTPUTS) for ids in batches]
    for ids, wait in zip(batches, waiting, strict=True):
        assert wait().batch.dense.tolist() == encode(encoder, ids, OUTPUTS).dense.tolist()
