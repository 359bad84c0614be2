"""BERT and XLM-RoBERTa over texts packed end to end, without padding.

Every layer but attention sees one [tokens, d] matrix; attention runs per text, texts of equal
length together. So nothing is computed for padding, and no text sees its batch mates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from embedder.encoders.encoder import Pause
from embedder.model.checkpoint import Checkpoint
from m3.errors import InvalidCheckpoint
from m3.types import I64


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
        ids: [T] int64, the tokens of the sorted texts.
        lengths: [n] int64, of the sorted texts.
        restore: [T] int64, where each token of the unsorted texts stands.
        runs: (first token, texts, length of each): the texts of each length.
    """

    ids: Tensor
    lengths: Tensor
    restore: Tensor
    runs: list[tuple[int, int, int]]

    @classmethod
    def of(cls, token_ids: Sequence[Sequence[int]], device: torch.device) -> Packing:
        given: I64 = np.array([len(ids) for ids in token_ids], np.int64)
        order = np.argsort(given, kind="stable")
        lengths: I64 = given[order]
        starts = np.empty_like(given)
        starts[order] = np.cumsum(lengths) - lengths
        shifts: I64 = starts - (np.cumsum(given) - given)
        restore = np.repeat(shifts, given) + np.arange(int(given.sum()))
        ids = np.concatenate([np.asarray(token_ids[i], np.int64) for i in order])
        return cls(
            torch.tensor(ids, device=device),
            torch.tensor(lengths, device=device),
            torch.tensor(restore, device=device),
            _runs(sorted(len(ids) for ids in token_ids)),
        )

    def per_token(self, values: Tensor) -> Tensor:
        """[n] -> [T]: each text's value at each of its tokens."""
        return values.repeat_interleave(self.lengths)


def _runs(lengths: list[int]) -> list[tuple[int, int, int]]:
    runs: list[tuple[int, int, int]] = []
    start = 0
    for length, group in groupby(lengths):
        texts = len(list(group))
        runs.append((start, texts, length))
        start += texts * length
    return runs


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer, normalised after each half."""

    qkv: Linear
    mixed: Linear
    mixed_norm: Norm
    wide: Linear
    narrow: Linear
    narrow_norm: Norm
    heads: int

    def __call__(self, x: Tensor, packing: Packing) -> Tensor:
        x = self.mixed_norm(x + self.mixed(self._attention(x, packing)))
        return self.narrow_norm(x + self.narrow(F.gelu(self.wide(x))))

    def _attention(self, x: Tensor, packing: Packing) -> Tensor:
        """[T, d] -> [T, d]; each text attends to itself alone."""
        qkv = self.qkv(x)
        result = torch.empty_like(x)
        for start, texts, length in packing.runs:
            stop = start + texts * length
            # [3, texts, heads, length, d / heads]
            parts = qkv[start:stop].view(texts, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            run = F.scaled_dot_product_attention(parts[0], parts[1], parts[2])
            result[start:stop].view(texts, length, self.heads, -1).copy_(run.transpose(1, 2))
        return result


class Transformer:
    """A checkpoint's encoder, its weights in memory: texts in, last hidden states out."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        """Read the weights. Raises InvalidCheckpoint where they do not fit the config."""
        self._architecture = checkpoint.architecture
        self._device = device
        tensors = _Tensors(checkpoint, device)
        d = self._architecture.hidden_size
        self._words = tensors.take("embeddings.word_embeddings.weight", None, d)
        positions = tensors.take("embeddings.position_embeddings.weight", None, d)
        # Single texts are all of type 0, so its embedding is part of every position's.
        types = tensors.take("embeddings.token_type_embeddings.weight", None, d)
        self._positions = positions + types[0]
        self._norm = tensors.norm("embeddings.LayerNorm")
        self._layers = [tensors.layer(i) for i in range(self._architecture.num_hidden_layers)]
        if len(self._words) < checkpoint.tokenizer.vocabulary:
            raise InvalidCheckpoint(
                f"{checkpoint.path}: the tokenizer has {checkpoint.tokenizer.vocabulary} tokens, "
                f"the model {len(self._words)}"
            )

    def __call__(self, token_ids: Sequence[Sequence[int]], pause: Pause | None = None) -> Tensor:
        """[T, d]: the last hidden state of every token, texts in the order given."""
        packing = Packing.of(token_ids, self._device)
        x = self._words[packing.ids] + self._positions[self._position_ids(packing)]
        x = self._norm(x)
        for layer in self._layers:
            if pause is not None:
                pause()
            x = layer(x, packing)
        return x[packing.restore]

    def _position_ids(self, packing: Packing) -> Tensor:
        starts = packing.lengths.cumsum(0) - packing.lengths
        if self._architecture.model_type == "bert":
            return torch.arange(len(packing.ids), device=self._device) - packing.per_token(starts)
        # XLM-RoBERTa counts the tokens that are not padding, from the id after padding's; a
        # padding token that a text spells out itself stands at padding's own place.
        pad = self._architecture.pad_token_id
        counts = (packing.ids != pad).long()
        seen = counts.cumsum(0)
        before = seen[starts] - counts[starts]
        return (seen - packing.per_token(before)) * counts + pad


class _Tensors:
    """A checkpoint's tensors, each taken with the shape it must have, as fp32."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._tensors = checkpoint.weights()
        self._architecture = checkpoint.architecture
        self._path = checkpoint.path
        self._device = device

    def take(self, name: str, *shape: int | None) -> Tensor:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise InvalidCheckpoint(f"{self._path}: the weights lack {name}")
        found = tuple(tensor.shape)
        if len(found) != len(shape) or any(
            wanted not in (None, size) for wanted, size in zip(shape, found, strict=True)
        ):
            raise InvalidCheckpoint(
                f"{self._path}: {name} is of shape {found}, which does not fit config.json"
            )
        return tensor.to(self._device, torch.float32)

    def norm(self, name: str) -> Norm:
        d = self._architecture.hidden_size
        weight, bias = self.take(f"{name}.weight", d), self.take(f"{name}.bias", d)
        return Norm(weight, bias, self._architecture.layer_norm_eps)

    def linear(self, name: str, size_in: int, size_out: int) -> Linear:
        weight = self.take(f"{name}.weight", size_out, size_in)
        return Linear(weight, self.take(f"{name}.bias", size_out))

    def layer(self, number: int) -> Layer:
        d, wide = self._architecture.hidden_size, self._architecture.intermediate_size
        base = f"encoder.layer.{number}"
        parts = [
            self.linear(f"{base}.attention.self.{part}", d, d) for part in ("query", "key", "value")
        ]
        return Layer(
            qkv=Linear(
                torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
            ),
            mixed=self.linear(f"{base}.attention.output.dense", d, d),
            mixed_norm=self.norm(f"{base}.attention.output.LayerNorm"),
            wide=self.linear(f"{base}.intermediate.dense", d, wide),
            narrow=self.linear(f"{base}.output.dense", wide, d),
            narrow_norm=self.norm(f"{base}.output.LayerNorm"),
            heads=self._architecture.num_attention_heads,
        )
