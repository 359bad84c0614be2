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
import torch.nn.functional as F  # noqa: N812 - its usual name
from numpy.typing import NDArray
from torch import Tensor

from embedder.encoders.codes import encode_tokens
from embedder.encoders.columns import Raw
from embedder.encoders.transfer import Bus
from embedder.model.checkpoint import Checkpoint
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
        working = torch.float32 if device.type == "cpu" else dtype
        self._colbert_weight = heads.colbert_weight.to(device, working)
        self._colbert_bias = heads.colbert_bias.to(device)

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
            weights = F.linear(hidden.float(), self._sparse_weight, self._sparse_bias).squeeze(1)
            made["weights"] = weights.relu()
            finite &= torch.isfinite(weights)
        if "colbert" in outputs:
            norms, vectors = _normalised(self._project(hidden.index_select(0, rest)))
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

    def _project(self, tokens: Tensor) -> Tensor:
        """[t, d] -> [t, d] fp32."""
        weight, bias = self._colbert_weight, self._colbert_bias
        if tokens.device.type == "cpu" or weight.dtype is torch.float32:
            return F.linear(tokens.to(weight.dtype), weight, bias)
        return torch.mm(tokens, weight.t(), out_dtype=torch.float32).add_(bias)


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
