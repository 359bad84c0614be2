"""The encoder in torch: any precision and device that torch computes in."""

from __future__ import annotations

import torch

from embedder.encoders.arithmetic import Arithmetic, add_up_in_fp32
from embedder.encoders.headed import HeadedEncoder
from embedder.encoders.transfer import Bus, current_device
from embedder.encoders.transformer import Transformer
from embedder.model.checkpoint import Checkpoint
from m3.settings import Precision


class PackedEncoder(HeadedEncoder):
    """Packed sequences in fp32, bf16, fp16 or fp8."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        precision: Precision = "auto",
        device: torch.device | None = None,
        *,
        graphs: bool = False,
    ) -> None:
        """Read the weights.

        Args:
            device: the current GPU where there is one, unless named.
            graphs: replay short batches as CUDA graphs. Not yet measured on a GPU.

        Raises:
            InvalidConfiguration: a precision that the device does not compute in.
            InvalidCheckpoint: weights that do not fit the checkpoint's config.
        """
        add_up_in_fp32()
        bus = Bus(device or current_device())
        arithmetic = Arithmetic.choose(precision, bus.device)
        self._transformer = Transformer(checkpoint, arithmetic, bus, graphs=graphs)
        super().__init__(
            checkpoint,
            self._transformer,
            bus,
            precision=arithmetic.precision,
            dtype=arithmetic.dtype,
        )
