"""Our forward pass in torch, on a CPU or a GPU, and M3's three outputs from its hidden states."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import structlog
import torch

from embedder.encoders.arithmetic import Arithmetic
from embedder.encoders.columns import finish
from embedder.encoders.encoder import Launched, Pause
from embedder.encoders.heads import OutputHeads
from embedder.encoders.transfer import Bus
from embedder.encoders.transformer import Transformer
from embedder.model.checkpoint import Checkpoint
from embedder.model.tokens import TextTokenizer
from m3.settings import Precision
from m3.types import Codec, ModelInfo, Output

_log = structlog.stdlib.get_logger("m3.embedder")


class PackedEncoder:
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
        self.device = device or _device()
        arithmetic = Arithmetic.choose(precision, self.device)
        bus = Bus(self.device)
        self._info = checkpoint.info(arithmetic.precision)
        self._tokenizer = checkpoint.tokenizer
        self._transformer = Transformer(checkpoint, arithmetic, bus, graphs=graphs)
        self._heads = OutputHeads(checkpoint, arithmetic.dtype, bus)
        _log.info("computing", engine=self.engine, threads=torch.get_num_threads())

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def tokenizer(self) -> TextTokenizer:
        return self._tokenizer

    @property
    def engine(self) -> str:
        return (
            f"torch {torch.__version__} {self._info.precision}, {self._transformer.attention}, "
            f"{_device_name(self.device)}"
        )

    @torch.inference_mode()
    def launch(
        self,
        token_ids: Sequence[Sequence[int]],
        outputs: Collection[Output],
        codec: Codec = Codec.FP32,
        pause: Pause | None = None,
    ) -> Launched:
        """See `Encoder.launch`. On a GPU it returns when all is enqueued."""
        hidden = self._transformer(token_ids, pause)
        wait = self._heads.launch(hidden, [len(ids) for ids in token_ids], outputs, codec)
        return lambda: finish(wait(), token_ids, self._info, self._tokenizer.special, codec)


def _device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU with {torch.backends.cpu.get_cpu_capability()}"
