"""Our forward pass: BERT and XLM-RoBERTa over sequences packed end to end, without padding.

Every layer but attention sees one [tokens, d] matrix; attention runs per text, texts of equal
length together. So nothing is computed for padding, and no text sees its batch mates.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import structlog
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from embedder.checkpoint import Architecture, Checkpoint, Heads
from embedder.columns import assemble, lexical_columns
from embedder.tokens import TextTokenizer
from m3.errors import InvalidCheckpoint, InvalidConfiguration
from m3.settings import Precision
from m3.types import EmbeddingBatch, ModelInfo, Output

_log = structlog.stdlib.get_logger("m3.embedder")


@dataclass(frozen=True, slots=True)
class Linear:
    """y = x Wᵀ + b. weight: [out, in]; bias: [out]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation over the last axis. weight, bias: [d]."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class Packing:
    """Texts end to end, shortest first, so that texts of equal length are neighbours.

    Attributes:
        ids: [T] int64 token ids of the sorted texts.
        lengths: of the sorted texts.
        order: which text stands at each place.
    """

    ids: Tensor
    lengths: list[int]
    order: list[int]

    @classmethod
    def of(cls, token_ids: Sequence[Sequence[int]], device: torch.device) -> Packing:
        order = sorted(range(len(token_ids)), key=lambda i: len(token_ids[i]))
        flat = np.concatenate([np.asarray(token_ids[i], np.int64) for i in order])
        ids = torch.from_numpy(flat).to(device)
        return cls(ids, [len(token_ids[i]) for i in order], order)

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """(first token, texts, length of each) of the texts of each length."""
        start = 0
        for length, group in groupby(self.lengths):
            texts = len(list(group))
            yield start, texts, length
            start += texts * length

    def starts(self) -> Tensor:
        """[n] int64: each text's first token."""
        lengths = torch.tensor(self.lengths, device=self.ids.device)
        return lengths.cumsum(0) - lengths

    def text_of_token(self) -> Tensor:
        """[T] int64: the place of the text that each token belongs to."""
        lengths = torch.tensor(self.lengths, device=self.ids.device)
        return torch.arange(len(self.lengths), device=self.ids.device).repeat_interleave(lengths)


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer, normalised after each half."""

    qkv: Linear
    attended: Linear
    attended_norm: Norm
    wide: Linear
    narrow: Linear
    narrow_norm: Norm
    heads: int

    def __call__(self, x: Tensor, packing: Packing) -> Tensor:
        x = self.attended_norm(x + self.attended(self._attention(x, packing)))
        return self.narrow_norm(x + self.narrow(F.gelu(self.wide(x))))

    def _attention(self, x: Tensor, packing: Packing) -> Tensor:
        """[T, d] -> [T, d]; each text attends to itself alone."""
        qkv = self.qkv(x)
        mixed = torch.empty_like(x)
        for start, texts, length in packing.runs():
            stop = start + texts * length
            # [3, texts, heads, length, d / heads]
            parts = qkv[start:stop].view(texts, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            run = F.scaled_dot_product_attention(parts[0], parts[1], parts[2])
            mixed[start:stop] = run.transpose(1, 2).reshape(stop - start, -1)
        return mixed


class PackedEncoder:
    """The default encoder: fp32, on the GPU where there is one."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision = "auto") -> None:
        """Read the weights.

        Raises:
            InvalidConfiguration: a precision this encoder does not compute in.
            InvalidCheckpoint: weights that do not fit the checkpoint's config.
        """
        if precision not in ("auto", "fp32"):
            raise InvalidConfiguration(
                f"--precision {precision}: this encoder computes in fp32; use auto or fp32"
            )
        self.info: ModelInfo = checkpoint.info("fp32")
        self.tokenizer: TextTokenizer = checkpoint.tokenizer
        self._architecture = checkpoint.architecture
        self._pooling = checkpoint.pooling
        self._device = _device()
        tensors = _Tensors(checkpoint, self._device)
        self._words = tensors.take("embeddings.word_embeddings.weight")
        self._positions = tensors.take("embeddings.position_embeddings.weight")
        # Single texts are all of type 0, so its embedding is part of every position's.
        self._positions = self._positions + tensors.take("embeddings.token_type_embeddings.weight")[0]
        self._norm = tensors.norm("embeddings.LayerNorm")
        self._layers = [tensors.layer(i) for i in range(self._architecture.num_hidden_layers)]
        self._heads = Heads(
            *(getattr(checkpoint.heads, name).to(self._device) for name in Heads.__slots__)
        )

    @torch.inference_mode()
    def encode(
        self, token_ids: Sequence[Sequence[int]], outputs: Collection[Output]
    ) -> EmbeddingBatch:
        """See `Encoder.encode`."""
        packing = Packing.of(token_ids, self._device)
        hidden = self._hidden(packing)
        if not torch.isfinite(hidden).all():
            raise InvalidCheckpoint(
                f"{self.info.id} computed values that are not finite: its weights are unfit"
            )
        dense = self._dense(hidden, packing) if "dense" in outputs else None
        
        raise NotImplementedError
