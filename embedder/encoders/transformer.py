"""BERT and XLM-RoBERTa over texts packed end to end, without padding.

Every layer but attention sees one [tokens, d] matrix; attention runs within each text. So
nothing is computed for padding, and no text sees its batch mates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from embedder.encoders.arithmetic import Arithmetic
from embedder.encoders.attention import Attention, RunAttention, VarlenAttention, varlen_kernel
from embedder.encoders.encoder import Pause
from embedder.encoders.graphs import Graphs, cuda_capture, padded_size
from embedder.encoders.linear import Linear, Linears, LinearSource, prepare
from embedder.encoders.packing import Packing
from embedder.encoders.transfer import Bus
from embedder.model.checkpoint import Architecture, Checkpoint
from embedder.model.tensors import Tensors

_log = structlog.stdlib.get_logger("m3.embedder")


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation over the last axis. weight, bias: [d], of the input's type."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer, normalised after each half."""

    linears: Linears
    mixed_norm: Norm
    narrow_norm: Norm
    heads: int

    def __call__(self, x: Tensor, attend: Attention) -> Tensor:
        x = self.mixed_norm(self.linears.mixed(self._attention(x, attend)).add_(x))
        return self.narrow_norm(self.linears.narrow(self.linears.wide(x)).add_(x))

    def _attention(self, x: Tensor, attend: Attention) -> Tensor:
        """[T, d] -> [T, d]; each text attends to itself alone."""
        parts = [projection(x) for projection in self.linears.projections]
        if len(parts) == 1:
            parts = parts[0].chunk(3, dim=1)
        q, k, v = (part.view(len(x), self.heads, -1) for part in parts)
        return attend(q, k, v).flatten(1)


class Transformer:
    """A checkpoint's encoder, its weights in memory: texts in, last hidden states out."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        arithmetic: Arithmetic,
        bus: Bus,
        *,
        linears: LinearSource | None = None,
        graphs: bool = False,
    ) -> None:
        """Read the weights.

        Args:
            arithmetic: of all but `linears`.
            linears: whose linear layers to take; None makes them from the checkpoint.
            graphs: replay short batches as CUDA graphs, where the device has what they need.

        Raises:
            InvalidCheckpoint: weights that do not fit the checkpoint's config.
        """
        self._architecture = checkpoint.architecture
        self._precision = arithmetic.precision
        self._dtype = arithmetic.dtype
        self._bus = bus
        self._linears = linears
        tensors = _OnDevice(Tensors(checkpoint), checkpoint.architecture, arithmetic, bus.device)
        # Read a row at a time, so a CPU leaves the largest of the tensors in its file.
        words = tensors.source.words()
        self._words = words if bus.device.type == "cpu" else words.to(bus.device, self._dtype)
        self._positions = tensors.source.positions().to(bus.device)
        self._norm = tensors.norm("embeddings.LayerNorm", torch.float32)
        self._layers = [
            tensors.layer(i, (linears or tensors.linears)(i))
            for i in range(self._architecture.num_hidden_layers)
        ]
        head = self._architecture.hidden_size // self._architecture.num_attention_heads
        self._kernel = varlen_kernel(bus.device, self._dtype, head)
        self._graphs = self._captured() if graphs else None

    @property
    def engine(self) -> str:
        """See `Encoder.engine`."""
        attention = "attention per length" if self._kernel is None else "variable-length attention"
        graphs = "off" if self._graphs is None else "on"
        torch_s = (
            f"torch {torch.__version__} {self._precision}, {attention}, CUDA graphs {graphs}, "
            f"{_name(self._bus.device)}"
        )
        return torch_s if self._linears is None else f"{self._linears.engine}; {torch_s}"

    def padding(self, token_ids: Sequence[Sequence[int]]) -> int:
        """See `States.padding`."""
        tokens = sum(map(len, token_ids))
        size = padded_size(tokens, len(token_ids)) if self._graphs is not None else None
        return 0 if size is None else size - tokens

    def __call__(self, token_ids: Sequence[Sequence[int]], pause: Pause | None = None) -> Tensor:
        """[T, d]: the last hidden state of every token, texts in the order given."""
        packing = Packing.of(token_ids, self._architecture)
        states = self._graphs(packing) if self._graphs is not None else None
        if states is not None:
            (restore,) = self._bus.send([packing.restore])
            return states.index_select(0, restore)
        ids, positions, offsets, restore = self._bus.send(
            [packing.ids, packing.positions, packing.offsets, packing.restore]
        )
        attend = (
            RunAttention(packing.runs)
            if self._kernel is None
            else VarlenAttention(self._kernel, offsets, int(packing.lengths[-1]))
        )
        return self._forward(ids, positions, attend, pause).index_select(0, restore)

    def _forward(
        self, ids: Tensor, positions: Tensor, attend: Attention, pause: Pause | None = None
    ) -> Tensor:
        """Tokens and positions [T] -> [T, d], all in the packing's order."""
        x = F.embedding(ids, self._words) + F.embedding(positions, self._positions)
        x = self._norm(x).to(self._dtype)
        for layer in self._layers:
            if pause is not None:
                pause()
            x = layer(x, attend)
        return x

    @torch.inference_mode()
    def _captured(self) -> Graphs | None:
        kernel = self._kernel
        if kernel is None:
            _log.warning("no CUDA graphs: they need variable-length attention")
            return None

        def forward(ids: Tensor, positions: Tensor, offsets: Tensor, longest: int) -> Tensor:
            return self._forward(ids, positions, VarlenAttention(kernel, offsets, longest))

        return Graphs(forward, self._bus, cuda_capture(self._bus.device))


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU with {torch.backends.cpu.get_cpu_capability()}"


def _base(number: int) -> str:
    return f"encoder.layer.{number}"


class _OnDevice:
    """The parts of a model, on the device and in the arithmetic."""

    def __init__(
        self,
        source: Tensors,
        architecture: Architecture,
        arithmetic: Arithmetic,
        device: torch.device,
    ) -> None:
        self.source = source
        self._architecture = architecture
        self._arithmetic = arithmetic
        self._device = device

    def norm(self, name: str, dtype: torch.dtype | None = None) -> Norm:
        d, dtype = self._architecture.hidden_size, dtype or self._arithmetic.dtype
        weight, bias = (
            self.source.take(f"{name}.{part}", d).to(self._device, dtype)
            for part in ("weight", "bias")
        )
        return Norm(weight, bias, self._architecture.layer_norm_eps)

    def linear(self, name: str, size_in: int, size_out: int, *, gelu: bool = False) -> Linear:
        weight, bias = self.source.pair(name, size_in, size_out)
        return prepare(weight, bias, self._arithmetic, self._device, gelu=gelu)

    def linears(self, number: int) -> Linears:
        d, wide = self._architecture.hidden_size, self._architecture.intermediate_size
        base = _base(number)
        return Linears(
            projections=self._projections(f"{base}.attention.self", d),
            mixed=self.linear(f"{base}.attention.output.dense", d, d),
            wide=self.linear(f"{base}.intermediate.dense", d, wide, gelu=True),
            narrow=self.linear(f"{base}.output.dense", wide, d),
        )

    def layer(self, number: int, linears: Linears) -> Layer:
        base = _base(number)
        return Layer(
            linears=linears,
            mixed_norm=self.norm(f"{base}.attention.output.LayerNorm"),
            narrow_norm=self.norm(f"{base}.output.LayerNorm"),
            heads=self._architecture.num_attention_heads,
        )

    def _projections(self, name: str, d: int) -> tuple[Linear, ...]:
        """One product for all three, unless that alone would make a copy of the weights."""
        pairs = [self.source.pair(f"{name}.{part}", d, d) for part in ("query", "key", "value")]
        weights, biases = [weight for weight, _ in pairs], [bias for _, bias in pairs]
        mapped = self._device.type == "cpu" and weights[0].dtype is self._arithmetic.dtype
        if not mapped:
            weights, biases = [torch.cat(weights)], [torch.cat(biases)]
        return tuple(
            prepare(weight, bias, self._arithmetic, self._device)
            for weight, bias in zip(weights, biases, strict=True)
        )
