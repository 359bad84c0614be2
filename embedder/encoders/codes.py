"""`m3.codec`'s token codes made where the vectors are: a GPU sends a quarter of the bytes."""

from __future__ import annotations

import torch
from torch import Tensor

from m3.types import Codec

_INT8_MAX = 127


def encode_tokens(vectors: Tensor, codec: Codec) -> Tensor:
    """[t, d] fp32 -> [t, width] uint8, bit for bit what `m3.codec.encode_tokens` writes.

    On any device, on its current stream; a machine whose numbers are little-endian.
    """
    match codec:
        case Codec.FP32:
            return vectors.contiguous().view(torch.uint8)
        case Codec.BF16:
            return vectors.bfloat16().contiguous().view(torch.uint8)
        case Codec.INT8:
            return _to_int8(vectors)


def _to_int8(vectors: Tensor) -> Tensor:
    largest = vectors.abs().amax(dim=1, keepdim=True)
    # Divided by a tensor: by a number, a GPU would multiply with its rounded reciprocal.
    scales = largest / torch.full_like(largest, _INT8_MAX)
    divisors = torch.where(scales > 0, scales, 1.0)
    values = (vectors / divisors).round_().clamp_(-_INT8_MAX, _INT8_MAX)
    return torch.cat([values.to(torch.int8).view(torch.uint8), scales.view(torch.uint8)], dim=1)
