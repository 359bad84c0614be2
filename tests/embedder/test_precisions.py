"""Every precision gives the vectors of fp32, nearly, and the same in every batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from embedder.encoders import arithmetic
from embedder.encoders.arithmetic import Arithmetic
from embedder.encoders.encoder import Encoder
from embedder.encoders.encoder import encode as encode_ids
from embedder.encoders.headed import HeadedEncoder
from embedder.encoders.linear import E4M3, Fp8, OneDnn, Plain, prepare, to_e4m3
from embedder.encoders.packed import PackedEncoder
from embedder.encoders.transfer import Bus
from embedder.encoders.transformer import Transformer
from embedder.model.checkpoint import Checkpoint, open_checkpoint
from m3.codec import decode_tokens
from m3.errors import InvalidConfiguration
from m3.settings import Precision
from m3.types import F32, OUTPUTS, Codec, EmbeddingBatch
from tests.embedder.checkpoints import write_xlm_roberta
from tests.embedder.texts import real_texts

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)
FAITHFUL: dict[Precision, float] = {"bf16": 0.9998, "fp16": 0.9999, "fp8": 0.985}
"""Least cosine of a dense vector to that of fp32."""
TEXTS = 7
"""One from each collection."""


@pytest.fixture(scope="module")
def checkpoint(stand_in: Path) -> Checkpoint:
    return open_checkpoint(stand_in)


@pytest.fixture(scope="module")
def ids(checkpoint: Checkpoint, data: Path) -> list[list[int]]:
    return [text.ids for text in checkpoint.tokenizer.tokenize(real_texts(data, TEXTS), 512)]


@pytest.fixture(scope="module")
def exact(checkpoint: Checkpoint, ids: list[list[int]]) -> EmbeddingBatch:
    return encode_ids(PackedEncoder(checkpoint, "fp32", CPU), ids, OUTPUTS)


@pytest.fixture(scope="module", params=FAITHFUL)
def encoder(request: pytest.FixtureRequest, checkpoint: Checkpoint) -> Encoder:
    return on_cpu(checkpoint, request.param)


@pytest.fixture(scope="module")
def batch(encoder: Encoder, ids: list[list[int]]) -> EmbeddingBatch:
    return encode_ids(encoder, ids, OUTPUTS)


def on_cpu(checkpoint: Checkpoint, precision: Precision) -> Encoder:
    """Computed here whatever the processor has; fp8 too, which no user is offered on a CPU."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    bus = Bus(CPU)
    states = Transformer(checkpoint, Arithmetic(precision, dtype), bus)
    return HeadedEncoder(checkpoint, states, bus, precision=precision, dtype=dtype)


def vectors(batch: EmbeddingBatch) -> F32:
    return decode_tokens(batch.codes, batch.codec)


class Written(TorchDispatchMode):
    """Every tensor that an operation gives back."""

    def __init__(self) -> None:
        super().__init__()
        self.tensors: list[torch.Tensor] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.tensors.append(result)
        return result


def neighbours(batch: EmbeddingBatch) -> list[int]:
    """Each text's nearest other one."""
    similarity = batch.dense @ batch.dense.T
    np.fill_diagonal(similarity, -1)
    return similarity.argmax(axis=1).tolist()


def test_vectors_and_ranks_are_those_of_fp32(encoder, batch, exact):
    least = FAITHFUL[encoder.info.precision]
    assert (batch.dense * exact.dense).sum(axis=1).min() > least
    assert (vectors(batch) * vectors(exact)).sum(axis=1).mean() > least
    np.testing.assert_allclose(np.linalg.norm(batch.dense, axis=1), 1, atol=1e-5)
    assert neighbours(batch) == neighbours(exact)
    assert np.abs(batch.dense - exact.dense).max() > 1e-6, "computed in another precision"


def test_token_weights_are_those_of_fp32(encoder, batch, exact):
    for ours, theirs in zip(batch, exact, strict=True):
        mine = dict(zip(ours.sparse_ids.tolist(), ours.sparse_weights.tolist(), strict=True))
        other = dict(zip(theirs.sparse_ids.tolist(), theirs.sparse_weights.tolist(), strict=True))
        gap = max(abs(mine.get(term, 0) - other.get(term, 0)) for term in mine.keys() | other)
        assert gap < (0.1 if encoder.info.precision == "fp8" else 0.02)


def test_batch_mates_do_not_change_a_text(encoder, ids, batch):
    shortest = min(range(len(ids)), key=lambda i: len(ids[i]))
    for i in (0, shortest):
        alone, together = encode_ids(encoder, [ids[i]], OUTPUTS).row(0), batch.row(i)
        np.testing.assert_allclose(together.dense, alone.dense, atol=1e-6)
        np.testing.assert_allclose(
            decode_tokens(together.codes, Codec.FP32),
            decode_tokens(alone.codes, Codec.FP32),
            atol=1e-6,
        )
        assert together.sparse_ids.tolist() == alone.sparse_ids.tolist()
        np.testing.assert_allclose(together.sparse_weights, alone.sparse_weights, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_xlm_roberta_too(tmp_path, precision):
    checkpoint = open_checkpoint(write_xlm_roberta(tmp_path / "xlm"))
    tokens = [[0, *range(5, 5 + n), 2] for n in (1, 9, 40, 9)]
    exact = encode_ids(PackedEncoder(checkpoint, "fp32", CPU), tokens, OUTPUTS)
    batch = encode_ids(PackedEncoder(checkpoint, precision, CPU), tokens, OUTPUTS)
    assert (batch.dense * exact.dense).sum(axis=1).min() > 0.999
    assert batch.codes.shape == exact.codes.shape


def test_an_overflow_of_fp16_is_told_and_spares_the_others(tmp_path):
    folder = write_xlm_roberta(tmp_path / "large")
    weights = load_file(folder / "model.safetensors")
    # One word lies along one dimension, which the inner layer enlarges: to 89,000 for that
    # word, more than fp16 holds, and to less than 65,504 for all others.
    weights["embeddings.word_embeddings.weight"][9] = 1000 * torch.eye(32)[0]
    weights["encoder.layer.0.intermediate.dense.weight"][0] = 16_000 * torch.eye(32)[0]
    save_file(weights, folder / "model.safetensors")
    checkpoint = open_checkpoint(folder)
    texts = [[0, 9, 2], [0, 7, 2]]
    sound = PackedEncoder(checkpoint, "fp32", CPU).launch(texts, OUTPUTS)()
    assert sound.unfit == frozenset()
    encoded = PackedEncoder(checkpoint, "fp16", CPU).launch(texts, OUTPUTS, Codec.INT8)()
    assert encoded.unfit == {0}
    assert np.isfinite(encoded.batch.row(1).dense).all()


def test_a_precision_is_recorded_and_named(encoder):
    assert f" {encoder.info.precision}, " in encoder.engine
    assert torch.__version__ in encoder.engine
    assert "CUDA graphs off" in encoder.engine


@pytest.mark.parametrize(
    ("capability", "chosen"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_auto_takes_what_the_gpu_has(monkeypatch, capability, chosen):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert Arithmetic.choose("auto", GPU).precision == chosen


def test_products_on_gpus_round_no_partial_sums(checkpoint):
    products = torch.backends.cuda.matmul
    products.allow_bf16_reduced_precision_reduction = True
    products.allow_fp16_reduced_precision_reduction = True
    PackedEncoder(checkpoint, "fp32", CPU)
    assert not products.allow_bf16_reduced_precision_reduction
    assert not products.allow_fp16_reduced_precision_reduction


@pytest.mark.parametrize(("has", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_auto_takes_what_the_cpu_has(monkeypatch, has, chosen):
    monkeypatch.setattr(arithmetic, "cpu_computes_bf16", lambda: has)
    assert Arithmetic.choose("auto", CPU).precision == chosen


@pytest.mark.parametrize(
    ("precision", "capability", "device", "words"),
    [
        ("fp8", (8, 9), GPU, "Hopper generation or newer, and this is Old GPU"),
        ("fp8", None, CPU, "and this is a CPU"),
        ("bf16", (7, 5), GPU, "Old GPU does not compute in it; choose fp16"),
        ("int8", None, CPU, "choose one of these or auto"),
    ],
)
def test_what_a_device_lacks_is_refused(monkeypatch, precision, capability, device, words):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    with pytest.raises(InvalidConfiguration, match=words):
        Arithmetic.choose(precision, device)


def test_hopper_may_compute_in_fp8(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert Arithmetic.choose("fp8", GPU) == Arithmetic("fp8", torch.bfloat16)


def test_fp8_multiplies_what_its_scales_say():
    torch.manual_seed(0)
    weight, bias = torch.randn(48, 64), torch.randn(48)
    x = torch.randn(7, 64) * torch.logspace(-4, 3, 7)[:, None]
    layer = Fp8.of(weight, bias)
    assert layer.weight.dtype is E4M3
    values, scales = to_e4m3(x.bfloat16())
    by_hand = (values.float() @ layer.weight.float().t()) * scales * layer.scales
    by_hand += bias.bfloat16().float()
    torch.testing.assert_close(layer(x.bfloat16()).float(), by_hand, rtol=1e-2, atol=1e-2)
    exact = x @ weight.t() + bias
    assert torch.nn.functional.cosine_similarity(layer(x.bfloat16()).float(), exact).min() > 0.995


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_e4m3_is_a_row_by_its_scale_and_nothing_larger_is_written(dtype):
    torch.manual_seed(0)
    rows = (torch.randn(9, 64) * torch.logspace(-4, 3, 9)[:, None]).to(dtype)
    with Written() as written:
        values, scales = to_e4m3(rows)
    assert {made.dtype for made in written.tensors if made.shape == rows.shape} == {E4M3}
    expected = rows.float().abs().amax(dim=1, keepdim=True) / torch.finfo(E4M3).max
    assert torch.equal(scales, expected)
    assert torch.equal(values.float(), (rows.float() / expected).to(E4M3).float())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_a_gpu_rounds_to_e4m3_as_a_cpu_does():
    torch.manual_seed(0)
    rows = (torch.randn(9, 64) * torch.logspace(-4, 3, 9)[:, None]).bfloat16()
    for there, here in zip(to_e4m3(rows.to(GPU)), to_e4m3(rows), strict=True):
        torch.testing.assert_close(there.cpu().float(), here.float(), rtol=0.13, atol=0)


def test_e4m3_keeps_the_largest_zeros_and_what_is_not_finite():
    rows = torch.tensor([[1e-6, -3e4, 3e4], [0.0, 0.0, 0.0], [1.0, float("inf"), 0.0]])
    values, scales = to_e4m3(rows)
    back = values.float() * scales
    assert back[0].tolist() == pytest.approx([0, -3e4, 3e4])
    assert back[1].tolist() == [0, 0, 0]
    assert not torch.isfinite(back[2]).all()
    # The scales of these are no fp32 numbers: one is rounded far down, the other to nothing.
    for tiny in (8.8e-43, 1e-44):
        values, scales = to_e4m3(torch.tensor([[tiny, 0.0]]))
        assert torch.isfinite(values.float() * scales).all()


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_onednn_computes_what_torch_does(dtype, gelu):
    torch.manual_seed(1)
    weight, bias, x = torch.randn(48, 32), torch.randn(48), torch.randn(5, 32).to(dtype)
    precision: Precision = "fp32" if dtype is torch.float32 else "bf16"
    layer = prepare(weight, bias, Arithmetic(precision, dtype), CPU, gelu=gelu)
    if not isinstance(layer, OneDnn):
        pytest.skip("oneDNN does not multiply this type here")
    expected = Plain(weight.to(dtype), bias.to(dtype), gelu)(x)
    tolerance = 1e-5 if dtype is torch.float32 else 5e-2
    torch.testing.assert_close(layer(x), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("precision", ["fp32", *FAITHFUL])
@pytest.mark.parametrize("graphs", [False, True])
def test_the_gpu_computes_what_the_cpu_does(checkpoint, ids, exact, precision, graphs):
    try:
        encoder = PackedEncoder(checkpoint, precision, GPU, graphs=graphs)
    except InvalidConfiguration as refused:
        pytest.skip(str(refused))
    least = FAITHFUL.get(precision, 0.99999)
    for codec in Codec:
        batch = encoder.launch(ids, OUTPUTS, codec)().batch
        assert (batch.dense.astype(np.float32) * exact.dense).sum(axis=1).min() > least - 1e-3
        assert (vectors(batch) * vectors(exact)).sum(axis=1).mean() > least - 1e-3
    for i in range(0, len(ids), 3):
        alone = encode_ids(encoder, [ids[i]], OUTPUTS)
        assert float(alone.dense[0] @ exact.dense[i]) > least - 1e-3
