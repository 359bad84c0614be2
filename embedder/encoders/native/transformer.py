"""A checkpoint's encoder on our own kernels: texts in, last hidden states out."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from ctypes import byref
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from embedder.encoders.encoder import Pause
from embedder.encoders.native.binding import GROUP, Batch, Layer, Model, Norm, library
from embedder.encoders.native.weights import Arithmetic, layer_of, packed_weights
from embedder.encoders.packing import positions_of
from embedder.model.checkpoint import Architecture, Checkpoint
from embedder.model.tensors import Tensors
from m3.errors import InvalidConfiguration
from m3.types import I32

_HEAD_SIZES = (32, 64)


def fits(architecture: Architecture) -> bool:
    """Whether the kernels' blocks divide a model's sizes."""
    a = architecture
    return (
        a.hidden_size % GROUP == 0
        and a.intermediate_size % GROUP == 0
        and a.hidden_size // a.num_attention_heads in _HEAD_SIZES
    )


class NativeTransformer:
    """Its weights are mapped from a file that all nodes of the machine share."""

    def __init__(
        self, checkpoint: Checkpoint, arithmetic: Arithmetic, *, threads: int, folder: Path
    ) -> None:
        """Map the weights; pack them first where no node has.

        Raises:
            InvalidCheckpoint: weights that do not fit the config.
            InvalidConfiguration: the kernels are missing, or do not fit this machine or model.
        """
        kernels = library()
        if kernels is None:
            raise InvalidConfiguration(
                f"precision {arithmetic} on a CPU needs AVX-512 BF16 and VNNI, and kernels that "
                "are built with the package where there is a C compiler: choose fp32"
            )
        if not fits(checkpoint.architecture):
            raise InvalidConfiguration(
                f"precision {arithmetic} on a CPU needs layers of a multiple of {GROUP} and heads "
                f"of {' or '.join(map(str, _HEAD_SIZES))} dimensions: choose fp32"
            )
        self._kernels: Any = kernels
        self._architecture = checkpoint.architecture
        version = int(kernels.m3_kernels())
        self._engine = f"native kernels {version} {arithmetic}, AVX-512, {threads} threads"
        self._arrays = packed_weights(checkpoint, arithmetic, version, folder)
        self._model = Model(
            size=checkpoint.architecture.hidden_size,
            wide=checkpoint.architecture.intermediate_size,
            heads=checkpoint.architecture.num_attention_heads,
            int8=arithmetic == "int8",
            epsilon=checkpoint.architecture.layer_norm_eps,
        )
        self._layers = [
            layer_of(self._arrays, i) for i in range(checkpoint.architecture.num_hidden_layers)
        ]
        self._embeddings = _Embeddings(checkpoint)
        self._pool = kernels.m3_pool_new(threads)
        weakref.finalize(self, kernels.m3_pool_free, self._pool)

    @property
    def engine(self) -> str:
        """See `Encoder.engine`."""
        return self._engine

    def padding(self, token_ids: Sequence[Sequence[int]]) -> int:  # noqa: ARG002 - there is none
        """See `States.padding`."""
        return 0

    def __call__(self, token_ids: Sequence[Sequence[int]], pause: Pause | None = None) -> Tensor:
        """[T, d] fp32: the last hidden state of every token, texts in the order given."""
        lengths: I32 = np.array([len(ids) for ids in token_ids], np.int32)
        embeddings = self._embeddings.read(token_ids, lengths)
        buffers = _Buffers(self._model, lengths, embeddings)
        batch = buffers.batch()
        self._run(self._kernels.m3_enter, self._embeddings.layer, batch)
        for layer in self._layers:
            if pause is not None:
                pause()
            self._run(self._kernels.m3_layer, layer, batch)
        return buffers.x

    def _run(self, kernel: Any, layer: Layer, batch: Batch) -> None:
        kernel(self._pool, byref(self._model), byref(layer), byref(batch))


class _Buffers:
    """What a batch works in; all of it [tokens, …] but the borders between texts."""

    def __init__(self, model: Model, lengths: I32, embeddings: Tensor) -> None:
        tokens, size, wide = int(lengths.sum()), int(model.size), int(model.wide)
        product = torch.uint8 if model.int8 else torch.bfloat16
        self._starts = torch.zeros(len(lengths) + 1, dtype=torch.int32)
        torch.cumsum(torch.from_numpy(lengths), 0, out=self._starts[1:])  # pyright: ignore[reportUnknownMemberType]
        self.x = embeddings
        self._rest = (
            torch.empty(tokens, size, dtype=product),
            torch.empty(tokens, size // GROUP, 2),
            torch.empty(tokens, 3 * size, dtype=torch.bfloat16),
            torch.empty(tokens, size, dtype=torch.bfloat16),
            torch.empty(tokens, wide, dtype=product),
            torch.empty(tokens, wide // GROUP, 2),
        )

    def batch(self) -> Batch:
        """Pointers to them, in the order of its fields."""
        pointers = [tensor.data_ptr() for tensor in (self._starts, self.x, *self._rest)]
        return Batch(len(self.x), len(self._starts) - 1, *pointers)


class _Embeddings:
    """Words and positions, looked up in fp32 where the checkpoint has them mapped."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        tensors = Tensors(checkpoint)
        size = checkpoint.architecture.hidden_size
        self._architecture = checkpoint.architecture
        self._words = tensors.words()
        self._positions = tensors.positions()
        norm = [
            tensors.take(f"embeddings.LayerNorm.{part}", size).float().contiguous()
            for part in ("weight", "bias")
        ]
        self._kept = norm
        self.layer = Layer(narrow_norm=Norm(*(part.data_ptr() for part in norm)))

    def read(self, token_ids: Sequence[Sequence[int]], lengths: I32) -> Tensor:
        """[T, d] fp32, before their norm."""
        ids = np.concatenate([np.asarray(some, np.int32) for some in token_ids])
        positions = positions_of(ids, lengths, self._architecture)
        words = F.embedding(torch.from_numpy(ids), self._words).float()  # pyright: ignore[reportUnknownMemberType]
        return words.add_(F.embedding(torch.from_numpy(positions), self._positions))  # pyright: ignore[reportUnknownMemberType]
