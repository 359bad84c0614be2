"""Hidden states and M3's heads as an encoder: what all engines of our own share."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from embedder.encoders.columns import finish
from embedder.encoders.encoder import Launched, Pause
from embedder.encoders.heads import OutputHeads
from embedder.encoders.transfer import Bus
from embedder.model.checkpoint import Checkpoint
from embedder.model.tokens import TextTokenizer
from m3.settings import Precision
from m3.types import Codec, ModelInfo, Output


class States(Protocol):
    """A loaded transformer."""

    @property
    def engine(self) -> str:
        """As `Encoder.engine`."""
        ...

    def padding(self, token_ids: Sequence[Sequence[int]]) -> int:
        """Tokens that are computed beside these, for the shape of the batch alone."""
        ...

    def __call__(self, token_ids: Sequence[Sequence[int]], pause: Pause | None = None) -> Tensor:
        """[T, d]: the last hidden state of every token, texts in the order given."""
        ...


class HeadedEncoder:
    """A checkpoint's heads over hidden states of one type on one device; an `Encoder`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        states: States,
        bus: Bus,
        *,
        precision: Precision,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """
        Args:
            bus: to the device of the states.
            precision: what `states` computes in, in a word.
            dtype: of the states.
        """
        self.device = bus.device
        self._info = checkpoint.info(precision)
        self._tokenizer = checkpoint.tokenizer
        self._states = states
        self._heads = OutputHeads(checkpoint, dtype, bus)

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def tokenizer(self) -> TextTokenizer:
        return self._tokenizer

    @property
    def engine(self) -> str:
        return self._states.engine

    @torch.inference_mode()
    def launch(
        self,
        token_ids: Sequence[Sequence[int]],
        outputs: Collection[Output],
        codec: Codec = Codec.FP32,
        pause: Pause | None = None,
    ) -> Launched:
        """See `Encoder.launch`. On a GPU it returns when all is enqueued."""
        hidden = self._states(token_ids, pause)
        wait = self._heads.launch(hidden, [len(ids) for ids in token_ids], outputs, codec)
        padding = self._states.padding(token_ids)
        return lambda: replace(
            finish(wait(), token_ids, self._info, self._tokenizer.special, codec), padding=padding
        )
