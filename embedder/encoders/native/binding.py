"""The compiled kernels as Python sees them: where they are, and the form of their arguments."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_float, c_int, c_int32, c_void_p
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

GROUP = 128
"""Activations that share a scale in int8, and what the sizes of a layer must be multiples of."""
_FOLDER = Path(__file__).parent


class Linear(Structure):
    """`linear_t`: panels of weights, bias, and in int8 what the bytes of a group stand for."""

    _fields_ = (
        ("weights", c_void_p),
        ("bias", c_void_p),
        ("steps", c_void_p),
        ("totals", c_void_p),
    )


class Norm(Structure):
    """`norm_t`."""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p))


class Layer(Structure):
    """`layer_t`."""

    _fields_ = (
        ("qkv", Linear),
        ("mixed", Linear),
        ("wide", Linear),
        ("narrow", Linear),
        ("mixed_norm", Norm),
        ("narrow_norm", Norm),
    )


class Model(Structure):
    """`model_t`."""

    _fields_ = (
        ("size", c_int32),
        ("wide", c_int32),
        ("heads", c_int32),
        ("int8", c_int32),
        ("epsilon", c_float),
    )


class Batch(Structure):
    """`batch_t`: the texts' borders and the buffers that a layer works in."""

    _fields_ = (
        ("tokens", c_int32),
        ("texts", c_int32),
        ("starts", c_void_p),
        ("x", c_void_p),
        ("in_", c_void_p),
        ("in_bytes", c_void_p),
        ("qkv", c_void_p),
        ("mixed", c_void_p),
        ("wide", c_void_p),
        ("wide_bytes", c_void_p),
    )


@cache
def library() -> Any | None:
    """The kernels of a whole layer on AVX-512.

    None where they were not built or this processor cannot run them.
    """
    kernels = _found("_kernels")
    if kernels is not None:
        for name in ("m3_enter", "m3_layer"):
            function = getattr(kernels, name)
            function.argtypes = (c_void_p, POINTER(Model), POINTER(Layer), POINTER(Batch))
            function.restype = None
    return kernels


@cache
def avx2() -> Any | None:
    """The kernel of int8 linear layers on AVX2; None as of `library`."""
    kernels = _found("_avx2")
    if kernels is not None:
        sizes = (c_int,) * 4
        kernels.m3_linear.argtypes = (
            *(c_void_p, POINTER(Linear), c_void_p),
            *sizes,
            *(c_void_p, c_void_p, c_void_p),
        )
        kernels.m3_linear.restype = None
    return kernels


def _found(name: str) -> Any | None:
    for suffix in EXTENSION_SUFFIXES:
        file = _FOLDER / f"{name}{suffix}"
        if file.exists():
            return _typed(ctypes.CDLL(str(file)))
    return None


def _typed(kernels: Any) -> Any | None:
    if not kernels.m3_supported():
        return None
    assert kernels.m3_group() == GROUP  # noqa: S101 - both are written in this folder
    kernels.m3_pool_new.restype = c_void_p
    kernels.m3_pool_new.argtypes = (c_int,)
    kernels.m3_pool_free.argtypes = (c_void_p,)
    return kernels
