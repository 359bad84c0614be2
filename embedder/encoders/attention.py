"""Attention within each of many texts that are packed end to end."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from embedder.encoders.arithmetic import AMPERE

Attention: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys, values [T, heads, d / heads] -> [T, heads, d / heads]."""

_LARGEST_HEAD = 256


Kernel: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""Queries, keys and values as of `Attention`, the texts' offsets, and the longest's length."""


@dataclass(frozen=True, slots=True)
class RunAttention:
    """Texts of equal length together, each such run a call of its own.

    Attributes:
        runs: (first token, texts, length of each).
    """

    runs: Sequence[tuple[int, int, int]]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        result = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        for start, texts, length in self.runs:
            rows, shape = slice(start, start + texts * length), (texts, length, *q.shape[1:])
            run = F.scaled_dot_product_attention(
                q[rows].view(shape).transpose(1, 2),
                k[rows].view(shape).transpose(1, 2),
                v[rows].view(shape).transpose(1, 2),
            )
            result[rows].view(shape).copy_(run.transpose(1, 2))
        return result


@dataclass(frozen=True, slots=True)
class VarlenAttention:
    """All texts in one call.

    Attributes:
        offsets: [n+1] int32 on the device: where each text begins and ends.
        longest: at least the length of each.
    """

    kernel: Kernel
    offsets: Tensor
    longest: int

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.kernel(q, k, v, self.offsets, self.longest)


def varlen_kernel(device: torch.device, dtype: torch.dtype, head: int) -> Kernel | None:
    """The kernel for `VarlenAttention`, or None where device, type or torch lack it.

    Args:
        head: dimensions of one head.
    """
    if (
        device.type != "cuda"
        or dtype not in (torch.float16, torch.bfloat16)
        or head > _LARGEST_HEAD
        or head % 8
        or torch.version.hip
        or not torch.backends.cuda.is_flash_attention_available()
        or torch.cuda.get_device_capability(device) < AMPERE
    ):
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - torch 2.10 or newer
    except ImportError:
        return None
    if "num_splits" not in inspect.signature(varlen_attn).parameters:
        return None

    def kernel(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, longest: int) -> Tensor:
        # Keys that are split are added up in an order that depends on the batch; as products are
        # anyway, where cuBLAS chooses its kernel by the number of tokens.
        result = varlen_attn(q, k, v, offsets, offsets, longest, longest, num_splits=1)
        assert isinstance(result, Tensor)  # noqa: S101 - more comes only where it is asked for
        return result

    return kernel
