"""Int8 products on AVX2 are those of their definition, and who computes int8 at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from embedder.encoders import choice
from embedder.encoders.native import linears
from embedder.encoders.native.binding import GROUP, Linear, avx2
from embedder.encoders.native.linears import Int8, Int8Linears, _Kernel
from embedder.encoders.native.weights import _int8
from embedder.model.checkpoint import Checkpoint, open_checkpoint
from m3.errors import InvalidConfiguration
from m3.types import F32

CHUNK = 256
"""Tokens that the kernel takes together."""
DEPTH = 8
"""Groups that it takes together."""

needs_avx2 = pytest.mark.skipif(avx2() is None, reason="no C compiler, or no AVX2")


def layer(weight: Tensor, bias: Tensor, *, gelu: bool = False, threads: int = 2) -> Int8:
    arrays = _int8(weight, bias)
    pointers = [arrays[part].ctypes.data for part in ("weights", "bias", "steps", "totals")]
    kernel = _Kernel(avx2(), threads, arrays)
    return Int8(kernel, Linear(*pointers), weight.shape[1], weight.shape[0], gelu)


def defined(weight: Tensor, bias: Tensor, x: Tensor) -> F32:
    """The product of bytes, in plain numpy: each token and GROUP from its least to its largest."""
    groups = x.numpy().reshape(len(x), -1, GROUP)
    least = groups.min(axis=2, keepdims=True)
    span = groups.max(axis=2, keepdims=True) - least
    inverse = np.divide(np.float32(255), span, out=np.zeros_like(span), where=span > 0)
    bytes_ = np.rint((groups - least) * inverse).astype(np.int64)

    weights = weight.numpy().reshape(len(weight), -1, GROUP)
    steps = np.abs(weights).max(axis=2) / np.float32(127)
    weight_bytes = np.rint(weights / np.maximum(steps, np.float32(1e-30))[..., None])
    sums = np.einsum("tgk,ogk->tgo", bytes_, weight_bytes.astype(np.int64))
    by_step = sums * (span / np.float32(255)) * steps.T
    by_least = least * (steps * weight_bytes.sum(axis=2)).T
    return ((by_step + by_least).sum(axis=1) + bias.numpy()).astype(np.float32)


def assert_close(found: Tensor, expected: F32) -> None:
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@needs_avx2
@settings(max_examples=20)
@given(
    tokens=st.one_of(st.integers(1, 9), st.sampled_from([CHUNK - 1, CHUNK, CHUNK + 3])),
    groups=st.sampled_from([1, 3, DEPTH, DEPTH + 1]),
    panels=st.integers(1, 3),
    threads=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_products_are_those_of_the_definition(tokens, groups, panels, threads, seed):
    torch.manual_seed(seed)
    weight, bias = torch.randn(64 * panels, GROUP * groups), torch.randn(64 * panels)
    # Tokens of very different sizes, some of them the same throughout.
    x = torch.randn(tokens, GROUP * groups) * torch.logspace(-3, 3, tokens)[:, None] + 1
    x[::3] = 2.5
    expected = defined(weight, bias, x)
    for found, row in zip(layer(weight, bias, threads=threads)(x), expected, strict=True):
        assert_close(found, row)


@needs_avx2
def test_the_largest_products_are_exact():
    """Where AVX2's own products of bytes would stop at the most that 16 bits hold."""
    x = torch.zeros(2, GROUP)
    x[0, 1:] = 255.0
    x[1, ::2] = 255.0
    weight = torch.full((64, GROUP), 127.0)
    weight[1::2] = -127.0
    expected = torch.tensor([[127 * 127 * 255.0], [64 * 127 * 255.0]])
    expected = expected * torch.tensor([1.0, -1.0]).repeat(32)
    assert torch.equal(layer(weight, torch.zeros(64))(x), expected)


@needs_avx2
def test_gelu_is_torchs():
    torch.manual_seed(0)
    weight, bias = torch.randn(256, GROUP), torch.zeros(256)
    x = torch.cat([torch.randn(50, GROUP), 1e3 * torch.randn(9, GROUP), torch.zeros(1, GROUP)])
    plain = layer(weight, bias)(x)
    found = layer(weight, bias, gelu=True)(x)
    torch.testing.assert_close(found, torch.nn.functional.gelu(plain), rtol=1e-6, atol=1e-6)


@needs_avx2
@settings(max_examples=25)
@given(
    place=st.integers(0, 2 * GROUP - 1),
    spoilt=st.sampled_from([float("nan"), float("inf"), float("-inf")]),
)
def test_what_is_not_finite_spoils_its_own_token(place, spoilt):
    torch.manual_seed(1)
    weight, bias, x = torch.randn(64, 2 * GROUP), torch.randn(64), torch.randn(5, 2 * GROUP)
    linear = layer(weight, bias)
    sound = linear(x)
    x[2, place] = spoilt
    found = linear(x)
    assert found[2].isnan().all()
    others = [0, 1, 3, 4]
    assert torch.equal(found[others], sound[others])


@pytest.fixture(scope="module")
def checkpoint(stand_in: Path) -> Checkpoint:
    return open_checkpoint(stand_in)


@needs_avx2
def test_without_avx512_int8_is_computed_on_avx2(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "library", lambda: None)
    encoder = choice.best_encoder(checkpoint, "int8", tmp_path)
    assert encoder.info.precision == "int8"
    assert "int8 linears, AVX2, " in encoder.engine
    assert f"torch {torch.__version__} fp32" in encoder.engine
    # What nobody asks to compute in int8 stays as it is.
    assert choice.best_encoder(checkpoint, "fp32", tmp_path).info.precision == "fp32"


def test_without_either_int8_is_refused(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "library", lambda: None)
    monkeypatch.setattr(linears, "avx2", lambda: None)
    with pytest.raises(InvalidConfiguration, match=r"AVX2, or AVX-512 .* choose fp32"):
        choice.best_encoder(checkpoint, "int8", tmp_path)


@needs_avx2
def test_avx512_comes_first_where_it_fits_the_model(checkpoint, tmp_path, monkeypatch):
    taken: list[str] = []
    monkeypatch.setattr(choice, "library", object)
    monkeypatch.setattr(choice, "NativeTransformer", lambda *_, **__: taken.append("AVX-512"))
    choice.best_encoder(checkpoint, "int8", tmp_path)
    assert taken == ["AVX-512"]
    monkeypatch.setattr(choice, "fits", lambda architecture: False)
    assert "AVX2" in choice.best_encoder(checkpoint, "int8", tmp_path).engine
    assert taken == ["AVX-512"]


@needs_avx2
def test_what_both_kernels_read_is_one_file(checkpoint, tmp_path):
    Int8Linears(checkpoint, threads=1, folder=tmp_path)
    names = [file.name for file in tmp_path.glob("*.safetensors")]
    assert names == [f"{checkpoint.fingerprint}-int8-1.safetensors"]
