"""A checkpoint's linear layers in int8 on AVX2; what lies between them is torch's."""

from __future__ import annotations

import weakref
from ctypes import byref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from embedder.encoders.linear import Linears
from embedder.encoders.native.binding import GROUP, Linear, avx2
from embedder.encoders.native.weights import Arrays, layer_of, packed_weights
from embedder.model.checkpoint import Architecture, Checkpoint
from m3.errors import InvalidConfiguration

_ROWS = 4
"""Tokens of a tile, which the kernel's work space is a multiple of."""
_ROW_GROUP = 3
"""Numbers of four bytes that say what a token's group of bytes stands for."""


def divides(architecture: Architecture) -> bool:
    """Whether the kernel's blocks divide a model's sizes."""
    return architecture.hidden_size % GROUP == 0 and architecture.intermediate_size % GROUP == 0


class Int8Linears:
    """Their weights are mapped from a file that all nodes of the machine share."""

    def __init__(self, checkpoint: Checkpoint, *, threads: int, folder: Path) -> None:
        """Map the weights; pack them first where no node has.

        Raises:
            InvalidCheckpoint: weights that do not fit the config.
            InvalidConfiguration: the kernel is missing, or does not fit this machine or model.
        """
        kernels = avx2()
        if kernels is None:
            raise InvalidConfiguration(
                "precision int8 on a CPU needs AVX2, or AVX-512 BF16 and VNNI, and kernels that "
                "are built with the package where there is a C compiler: choose fp32"
            )
        if not divides(checkpoint.architecture):
            raise InvalidConfiguration(
                f"precision int8 on a CPU needs layers of a multiple of {GROUP}: choose fp32"
            )
        version = int(kernels.m3_kernels())
        arrays = packed_weights(checkpoint, "int8", version, folder)
        self._engine = f"native kernels {version} int8 linears, AVX2, {threads} threads"
        self._architecture = checkpoint.architecture
        self._arrays = arrays
        self._kernel = _Kernel(kernels, threads, arrays)

    @property
    def engine(self) -> str:
        """See `LinearSource.engine`."""
        return self._engine

    def __call__(self, number: int) -> Linears:
        """See `LinearSource`."""
        d, wide = self._architecture.hidden_size, self._architecture.intermediate_size
        layer = layer_of(self._arrays, number)
        return Linears(
            projections=(Int8(self._kernel, layer.qkv, d, 3 * d),),
            mixed=Int8(self._kernel, layer.mixed, d, d),
            wide=Int8(self._kernel, layer.wide, d, wide, gelu=True),
            narrow=Int8(self._kernel, layer.narrow, wide, d),
        )


class _Kernel:
    """The compiled code, its threads, and the weights that it has pointers to."""

    def __init__(self, kernels: Any, threads: int, arrays: Arrays) -> None:
        self.multiply: Any = kernels.m3_linear
        self.arrays = arrays
        self.pool = kernels.m3_pool_new(threads)
        weakref.finalize(self, kernels.m3_pool_free, self.pool)


@dataclass(frozen=True, slots=True)
class Int8:
    """Products of bytes, summed exactly within a group; used by one thread at a time.

    A weight has a step for each output and GROUP of inputs, an input a step and a least value
    for each token and GROUP. A token with a value that is not finite becomes NaN.
    """

    kernel: _Kernel
    linear: Linear
    size_in: int
    size_out: int
    gelu: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """[T, in] fp32 -> [T, out] fp32."""
        x = x.contiguous()
        tokens = len(x)
        rows = -(-tokens // _ROWS) * _ROWS
        words = torch.empty(rows, self.size_in, dtype=torch.int16)
        groups = torch.empty(rows, self.size_in // GROUP, _ROW_GROUP)
        y = torch.empty(tokens, self.size_out)
        self.kernel.multiply(
            self.kernel.pool,
            byref(self.linear),
            x.data_ptr(),
            tokens,
            self.size_in,
            self.size_out,
            self.gelu,
            words.data_ptr(),
            groups.data_ptr(),
            y.data_ptr(),
        )
        return y
