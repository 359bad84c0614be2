"""M3's three outputs from hidden states, whichever engine computed those.

The ColBERT head multiplies in the hidden states' type and adds up in fp32; on a CPU, where that
is a three-hundredth of the work, it is fp32 throughout. Token weights, pooling and normalisation
are fp32 everywhere. Vectors leave the device in the form they will be written in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedder.encoders.arithmetic import Arithmetic
from embedder.encoders.codes import encode_tokens
from embedder.encoders.columns import Raw
from embedder.encoders.linear import prepare
from embedder.encoders.transfer import Bus
from embedder.model.checkpoint import Checkpoint, Heads
from m3.types import I32, Codec, Output

_SMALLEST_NORM = 1e-12
"""What a norm is raised to before dividing by it, as `torch.nn.functional.normalize` does."""


class OutputHeads:
    """A checkpoint's heads on a device, for hidden states of one type."""

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, bus: Bus) -> None:
        """`dtype`: of the hidden states; `bus`: to the device they will be on."""
        heads, device = checkpoint.heads, bus.device
        self._bus = bus
        self._pooling = checkpoint.pooling
        self._sparse_weight = heads.sparse_weight.to(device)
        self._sparse_bias = heads.sparse_bias.to(device)
        self._project = _projection(heads, dtype, device)

    def launch(
        self,
        hidden: Tensor,
        lengths: Sequence[int],
        outputs: Collection[Output],
        codec: Codec,
    ) -> Callable[[], Raw]:
        """Enqueue the heads and the way back to the host.

        Args:
            hidden: [T, d] on the device: every token's last state, text after text.
            lengths: of the n texts, T in all.

        Returns:
            What waits for the result.
        """
        first, rest, sizes = self._bus.send(_rows(lengths))
        finite = torch.isfinite(hidden).all(dim=1)
        made: dict[str, Tensor] = {}
        if "dense" in outputs:
            norms, vectors = _normalised(self._pool(hidden, first, sizes))
            made["dense"] = vectors if codec is Codec.FP32 else vectors.half()
            finite[first.long()] &= torch.isfinite(norms)
        if "sparse" in outputs:
            # No product of matrices, whose sums of one column go in an order that depends on how
            # many rows there are.
            weights = (hidden.float() * self._sparse_weight).sum(dim=1) + self._sparse_bias
            made["weights"] = weights.relu()
            finite &= torch.isfinite(weights)
        if "colbert" in outputs:
            # Of all tokens, as a text has two at least: a lone row's sums go in another order.
            norms, vectors = _normalised(self._project(hidden).index_select(0, rest))
            made["codes"] = encode_tokens(vectors, codec)
            finite[rest.long()] &= torch.isfinite(norms)
        made["finite"] = finite
        arrive = self._bus.fetch(list(made.values()))

        def wait() -> Raw:
            arrays: dict[str, NDArray[Any]] = dict(zip(made, arrive(), strict=True))
            return Raw(**arrays)

        return wait

    def _pool(self, hidden: Tensor, first: Tensor, sizes: Tensor) -> Tensor:
        """[n, d] fp32."""
        if self._pooling == "cls":
            return hidden.index_select(0, first).float()
        # Unchecked: to look at the lengths, the host would have to wait for the device.
        return torch.segment_reduce(hidden.float(), "mean", lengths=sizes, axis=0, unsafe=True)


def _projection(
    heads: Heads, dtype: torch.dtype, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """The ColBERT head: [t, d] of `dtype` -> [t, d] fp32."""
    if device.type == "cpu" or dtype is torch.float32:
        exact = Arithmetic("fp32", torch.float32)
        linear = prepare(heads.colbert_weight, heads.colbert_bias, exact, device)
        return lambda tokens: linear(tokens.float())
    weight, bias = heads.colbert_weight.to(device, dtype), heads.colbert_bias.to(device)
    return lambda tokens: torch.mm(tokens, weight.t(), out_dtype=torch.float32).add_(bias)


def _rows(lengths: Sequence[int]) -> tuple[I32, I32, I32]:
    """Where each text's first token stands, where all others do, and the lengths."""
    sizes = np.array(lengths, np.int32)
    first = (np.cumsum(sizes) - sizes).astype(np.int32)
    rest = np.delete(np.arange(int(sizes.sum()), dtype=np.int32), first)
    return first, rest, sizes


def _normalised(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The norms [t], finite only where all of a vector is, and the vectors [t, d] by them."""
    norms = vectors.square().sum(dim=1, keepdim=True).sqrt_()
    return norms.squeeze(1), vectors / norms.clamp_min(_SMALLEST_NORM)
