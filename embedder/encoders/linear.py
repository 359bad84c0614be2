"""Linear layers in several arithmetics: y = x Wᵀ + b, and GELU after those that have it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from embedder.encoders.arithmetic import Arithmetic

Linear: TypeAlias = Callable[[Tensor], Tensor]
"""[T, in] -> [T, out], in the arithmetic's dtype."""


@dataclass(frozen=True, slots=True)
class Linears:
    """The products of one transformer layer.

    Attributes:
        projections: queries, keys and values in turn, from one product or from three.
        mixed: of what attention gives.
        wide: with GELU.
        narrow: of what `wide` gives.
    """

    projections: tuple[Linear, ...]
    mixed: Linear
    wide: Linear
    narrow: Linear


class LinearSource(Protocol):
    """Whose linear layers a model takes in place of torch's."""

    @property
    def engine(self) -> str:
        """Which code multiplies, as a part of `Encoder.engine`."""
        ...

    def __call__(self, number: int) -> Linears:
        """Those of one layer."""
        ...


E4M3 = torch.float8_e4m3fn
_E4M3_MAX = torch.finfo(E4M3).max
_SMALLEST_SCALE = torch.finfo(torch.float32).tiny
_norm = cast("Callable[..., Tensor]", torch.linalg.vector_norm)  # pyright: ignore[reportUnknownMemberType]


@dataclass(frozen=True, slots=True)
class Plain:
    """weight: [out, in]; bias: [out]."""

    weight: Tensor
    bias: Tensor
    gelu: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        return F.gelu(y) if self.gelu else y


@dataclass(frozen=True, slots=True)
class OneDnn:
    """oneDNN's product on a CPU, GELU within it; torch's own goes to MKL, slower on some.

    weight: [out, in], plain or packed for oneDNN; bias: [out].
    """

    weight: Tensor
    bias: Tensor
    gelu: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, "gelu" if self.gelu else "none", [], "none"
        )


@dataclass(frozen=True, slots=True)
class Fp8:
    """Products of e4m3 numbers: a scale for each row of the weight, and one for each token.

    weight: [out, in] e4m3; scales: [1, out] fp32; bias: [out] bf16. Both sizes are multiples of 16.
    """

    weight: Tensor
    scales: Tensor
    bias: Tensor
    gelu: bool = False

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor, *, gelu: bool = False) -> Fp8:
        """From weights in any type."""
        values, scales = to_e4m3(weight)
        return cls(values, scales.t().contiguous(), bias.bfloat16(), gelu)

    def __call__(self, x: Tensor) -> Tensor:
        values, scales = to_e4m3(x)
        y = torch._scaled_mm(  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
            values,
            self.weight.t(),
            scale_a=scales,
            scale_b=self.scales,
            bias=self.bias,
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
        return F.gelu(y) if self.gelu else y


def to_e4m3(rows: Tensor) -> tuple[Tensor, Tensor]:
    """[t, d] of any type -> values [t, d] e4m3 and their scales [t, 1] fp32; row = value * scale.

    The largest of a row becomes e4m3's largest; numbers near fp32's smallest become zero. A row
    with a value that is not finite becomes NaN.
    """
    # Two passes over the rows, nothing of their size written but the values: at a GPU's speed
    # of multiplying e4m3, each further one would cost as much as the products save.
    largest = _norm(rows, torch.inf, dim=1, keepdim=True, dtype=torch.float32)
    # Never 0, nor so near it that rounding the scale takes a value beyond e4m3's largest,
    # where it has only NaN.
    scales = (largest / _E4M3_MAX).clamp_min_(_SMALLEST_SCALE)
    values = torch.empty(rows.shape, dtype=E4M3, device=rows.device)
    return torch.div(rows, scales, out=values), scales


def prepare(
    weight: Tensor,
    bias: Tensor,
    arithmetic: Arithmetic,
    device: torch.device,
    *,
    gelu: bool = False,
) -> Linear:
    """A layer from a checkpoint's tensors.

    fp32 on a CPU reads them where they are, so that processes which map one file share them;
    anything else makes a copy of its own, on a CPU packed for oneDNN where that has the type.
    """
    if arithmetic.precision == "fp8":
        return Fp8.of(weight.to(device), bias.to(device), gelu=gelu)
    weight, bias = weight.to(device, arithmetic.dtype), bias.to(device, arithmetic.dtype)
    if device.type != "cpu" or not _in_onednn(arithmetic.dtype):
        return Plain(weight, bias, gelu)
    if arithmetic.dtype is not torch.float32:
        weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return OneDnn(weight, bias, gelu)


def _in_onednn(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies numbers of this type on this processor."""
    if not torch.backends.mkldnn.is_available():
        return False
    if dtype is torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if dtype is torch.float16:
        return torch.ops.mkldnn._is_mkldnn_fp16_supported()
    return True
