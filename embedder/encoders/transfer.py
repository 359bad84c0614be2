"""Between the host and the device that computes, without either waiting for the other.

What goes over in either direction goes through page-locked memory, which torch keeps and hands
out again. Results travel on a stream of their own, beside the next launch. On a CPU nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from m3.types import I32


def current_device() -> torch.device:
    """The current GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


class Bus:
    """The way to one device and back. Used by one thread at a time; what `fetch` gives by any."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._back = torch.cuda.Stream(device) if device.type == "cuda" else None

    def send(self, arrays: Sequence[I32]) -> list[Tensor]:
        """Copies of one-dimensional arrays on the device, in one transfer."""
        sizes = [len(array) for array in arrays]
        staged = torch.empty(sum(sizes), dtype=torch.int32, pin_memory=self._back is not None)
        np.concatenate(arrays, out=staged.numpy())
        sent = staged.to(self.device, non_blocking=True)
        stops = np.cumsum(sizes).tolist()
        return [sent[stop - size : stop] for size, stop in zip(sizes, stops, strict=True)]

    def fetch(self, tensors: Sequence[Tensor]) -> Callable[[], list[NDArray[Any]]]:
        """Begin to bring tensors back, as soon as what was enqueued has computed them.

        Returns:
            What waits for the arrays.
        """
        if self._back is None:
            arrays = [tensor.numpy() for tensor in tensors]
            return lambda: arrays
        self._back.wait_stream(torch.cuda.current_stream(self.device))
        arrived = torch.cuda.Event(blocking=True)  # a wait that spins takes a core
        with torch.cuda.stream(self._back):
            copies = [_copy(tensor, self._back) for tensor in tensors]
            arrived.record(self._back)

        def wait() -> list[NDArray[Any]]:
            arrived.synchronize()
            return [copy.numpy() for copy in copies]

        return wait


def _copy(tensor: Tensor, stream: torch.cuda.Stream) -> Tensor:
    """A page-locked copy in the making; the tensor's memory is not reused before it is made."""
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copy.copy_(tensor, non_blocking=True)
    tensor.record_stream(stream)
    return copy
