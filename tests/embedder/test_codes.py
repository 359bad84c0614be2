"""Codes made on a device are those of `m3.codec`, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from embedder.encoders.codes import encode_tokens
from m3 import codec as oracle
from m3.types import F32, Codec

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
special = st.sampled_from([0.0, -0.0, 1e-45, 2e-43, -2e-43, 127.5])
vectors = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.one_of(numbers, st.floats(-1, 1, width=32), special),
)


@pytest.mark.parametrize("codec", Codec)
@settings(max_examples=200)
@given(given=vectors)
def test_bits_are_those_of_the_codec(codec, given):
    with np.errstate(over="ignore", under="ignore"):
        expected = oracle.encode_tokens(given, codec)
    assert encode_tokens(torch.from_numpy(given), codec).numpy().tolist() == expected.tolist()


def test_a_scale_too_small_to_be_exact_does_not_wrap_a_value():
    tiny = np.array([[2e-43, -2e-43]], np.float32)
    codes = encode_tokens(torch.from_numpy(tiny), Codec.INT8).numpy()
    assert codes.tolist() == oracle.encode_tokens(tiny, Codec.INT8).tolist()
    assert codes.view(np.int8)[0, :2].tolist() == [127, -127]


@pytest.mark.parametrize("codec", Codec)
def test_no_vectors_are_no_codes(codec):
    codes = encode_tokens(torch.zeros(0, 5), codec)
    assert codes.shape == (0, oracle.width(5, codec))


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)],
)
def test_many_unit_vectors(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU")
    many: F32 = np.random.default_rng(5).normal(size=(500, 384)).astype(np.float32)
    many /= np.linalg.norm(many, axis=1, keepdims=True)
    for codec in Codec:
        codes = encode_tokens(torch.from_numpy(many).to(device), codec).cpu().numpy()
        assert np.array_equal(codes, oracle.encode_tokens(many, codec))
