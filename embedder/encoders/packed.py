"""The default encoder: our forward pass, and M3's three outputs from its hidden states."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import structlog
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from embedder.encoders.columns import assemble, convert, lexical_columns
from embedder.encoders.encoder import Encoded, Launched, Pause
from embedder.encoders.transformer import Transformer
from embedder.model.checkpoint import Checkpoint, Heads
from embedder.model.tokens import TextTokenizer
from m3.errors import InvalidConfiguration
from m3.settings import Precision
from m3.types import F32, Codec, ModelInfo, Output

_log = structlog.stdlib.get_logger("m3.embedder")


class PackedEncoder:
    """Packed sequences in fp32, on the GPU where there is one."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision = "auto") -> None:
        """Read the weights.

        Raises:
            InvalidConfiguration: a precision this encoder does not compute in.
            InvalidCheckpoint: weights that do not fit the checkpoint's config.
        """
        if precision not in ("auto", "fp32"):
            raise InvalidConfiguration(
                f"precision {precision}: this encoder computes in fp32; choose auto or fp32"
            )
        device = _device()
        self._info = checkpoint.info("fp32")
        self._tokenizer = checkpoint.tokenizer
        self._pooling = checkpoint.pooling
        self._transformer = Transformer(checkpoint, device)
        self._heads = Heads(*(getattr(checkpoint.heads, n).to(device) for n in Heads.__slots__))

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def tokenizer(self) -> TextTokenizer:
        return self._tokenizer

    @property
    def engine(self) -> str:
        return f"torch {torch.__version__} fp32"

    @torch.inference_mode()
    def launch(
        self,
        token_ids: Sequence[Sequence[int]],
        outputs: Collection[Output],
        codec: Codec = Codec.FP32,
        pause: Pause | None = None,
    ) -> Launched:
        """See `Encoder.launch`."""
        hidden = self._transformer(token_ids, pause)
        lengths = [len(ids) for ids in token_ids]
        finite = torch.isfinite(hidden).all(dim=1).cpu().numpy()
        unfit = frozenset(
            i for i, text in enumerate(np.split(finite, np.cumsum(lengths)[:-1])) if not text.all()
        )
        batch = assemble(
            token_ids,
            self._info,
            dense=self._dense(hidden, lengths) if "dense" in outputs else None,
            lexical=lexical_columns(self._token_weights(hidden), token_ids, self._tokenizer.special)
            if "sparse" in outputs
            else None,
            colbert=self._colbert(hidden, lengths) if "colbert" in outputs else None,
        )
        return lambda: Encoded(convert(batch, codec), unfit)

    def _dense(self, hidden: Tensor, lengths: Sequence[int]) -> F32:
        """[n, d] fp32, normalised."""
        sizes = torch.tensor(lengths, device=hidden.device)
        if self._pooling == "cls":
            pooled = hidden[sizes.cumsum(0) - sizes]
        else:
            pooled = torch.segment_reduce(hidden, "mean", lengths=sizes, axis=0)
        return F.normalize(pooled, dim=-1).cpu().numpy()

    def _token_weights(self, hidden: Tensor) -> F32:
        """[T] fp32, before special tokens are dropped and repeated ones merged."""
        weights = F.linear(hidden, self._heads.sparse_weight, self._heads.sparse_bias)
        return weights.relu().squeeze(-1).cpu().numpy()

    def _colbert(self, hidden: Tensor, lengths: Sequence[int]) -> F32:
        """[T - n, d] fp32, normalised: every token but the first of each text."""
        kept = np.ones(len(hidden), np.bool_)
        kept[np.cumsum([0, *lengths[:-1]])] = False
        tokens = hidden[torch.tensor(kept, device=hidden.device)]
        vectors = F.linear(tokens, self._heads.colbert_weight, self._heads.colbert_bias)
        return F.normalize(vectors, dim=-1).cpu().numpy()


def _device() -> torch.device:
    if torch.cuda.is_available():
        _log.info("computing on the GPU", gpu=torch.cuda.get_device_name())
        return torch.device("cuda")
    _log.info("no GPU found: computing on the CPU", threads=torch.get_num_threads())
    return torch.device("cpu")
