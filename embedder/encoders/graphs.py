"""CUDA graphs for short batches: one launch in place of the hundreds that a small model makes.

A graph replays one shape. So a short batch is padded to the next of a few sizes; the padding is
a text of its own, which no other text sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from embedder.encoders.packing import Packing
from embedder.encoders.transfer import Bus

SIZES = (16, 32, 64, 128, 256, 512)
"""Tokens, padding included, that there is a graph for."""
TEXTS = 33
"""Texts in every graph, the padding included."""

Forward: TypeAlias = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""ids [T], positions [T], offsets [n+1], all int32, and the longest text -> states [T, d]."""
Replay: TypeAlias = Callable[[], None]
Capture: TypeAlias = Callable[[Callable[[], Tensor]], tuple[Replay, Tensor]]
"""A computation -> what enqueues it again, and the tensor it writes to each time."""


def padded_size(tokens: int, texts: int) -> int | None:
    """Tokens that are computed for a batch of so many; None for one that no graph fits."""
    if texts >= TEXTS:
        return None
    return next((size for size in SIZES if size >= tokens), None)


@dataclass(frozen=True, slots=True)
class _Graph:
    ids: Tensor
    positions: Tensor
    offsets: Tensor
    replay: Replay
    states: Tensor


class Graphs:
    """A forward pass, captured at every size. Used by one thread at a time."""

    def __init__(self, forward: Forward, bus: Bus, capture: Capture) -> None:
        """Capture: takes some forward passes."""
        self._bus = bus
        self._graphs = {size: _make(size, forward, bus.device, capture) for size in SIZES}

    def __call__(self, packing: Packing) -> Tensor | None:
        """[size, d] states in the packing's order, valid until the next call's work begins.

        None for a batch that is too large.
        """
        size = padded_size(len(packing.ids), len(packing.lengths))
        if size is None:
            return None
        graph, padded = self._graphs[size], packing.padded(size, TEXTS)
        sent = self._bus.send([padded.ids, padded.positions, padded.offsets])
        for fixed, given in zip((graph.ids, graph.positions, graph.offsets), sent, strict=True):
            fixed.copy_(given)
        graph.replay()
        return graph.states


def _make(size: int, forward: Forward, device: torch.device, capture: Capture) -> _Graph:
    ids = torch.zeros(size, dtype=torch.int32, device=device)
    positions = torch.zeros_like(ids)
    # Until there is a batch, all of it is padding.
    offsets = torch.full((TEXTS + 1,), size, dtype=torch.int32, device=device)
    offsets[0] = 0
    replay, states = capture(lambda: forward(ids, positions, offsets, size))
    return _Graph(ids, positions, offsets, replay, states)


def cuda_capture(device: torch.device) -> Capture:
    """Graphs of one GPU that share their memory, as they run one after the other."""
    pool = torch.cuda.graph_pool_handle()
    # One for all sizes: cuBLAS keeps a work space for every stream that it multiplies on.
    aside = torch.cuda.Stream(device)

    def capture(compute: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        with torch.cuda.device(device):
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                # Libraries set themselves up in their first calls, which a graph cannot hold.
                compute()
                compute()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=aside):
                states = compute()
            torch.cuda.current_stream().wait_stream(aside)
        return graph.replay, states

    return capture
