"""How many tokens one launch may hold on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from embedder.encoders.encoder import Encoder
from embedder.encoders.headed import HeadedEncoder
from m3.errors import InvalidConfiguration
from m3.types import OUTPUTS, Codec
from serving.machine import available_memory

_SHARE = 0.9
"""Of a device's memory that a launch may fill: the rest is for what fragments and for others."""
_CPU_SHARE = 0.5
"""Of the host's, where tokens are counted on rather than measured, and others allocate too."""
_NUMBERS_PER_DIMENSION = 24
"""fp32 numbers a token takes on a CPU at the most, for each of the model's dimensions: queries,
keys, values, the four-fold inner layer with GELU before and after, and the outputs on their way."""
_STEP = 0.8


class Meter(Protocol):
    """A device's memory."""

    def available(self) -> int:
        """Bytes that a launch can have."""
        ...

    def peak(self, run: Callable[[], object]) -> int:
        """Bytes that a run took beyond those in use before it."""
        ...

    def release(self) -> None:
        """Give back what a failed run left behind."""
        ...


def capacity(encoder: Encoder, wanted: int, meter: Meter | None = None) -> int:
    """The most tokens one launch may hold: `wanted`, or what memory there is for.

    A GPU is asked by running on it, up to the answer itself; a CPU's memory is counted.

    Args:
        wanted: raised to the model's longest text.
        meter: of the device; None finds the encoder's.

    Raises:
        InvalidConfiguration: there is no room for one text of the model's `max_tokens`.
        Exception: whatever a run fails with, other than want of memory.
    """
    wanted = max(wanted, encoder.info.max_tokens)
    if meter is None and isinstance(encoder, HeadedEncoder) and encoder.device.type == "cuda":
        meter = CudaMeter(encoder.device)
    if meter is not None:
        return _measured(encoder, wanted, meter)
    per_token = 4 * _NUMBERS_PER_DIMENSION * encoder.info.dimension
    possible = int(available_memory() * _CPU_SHARE) // per_token
    if possible < encoder.info.max_tokens:
        raise _too_small(encoder)
    return min(wanted, possible)


def _measured(encoder: Encoder, wanted: int, meter: Meter) -> int:
    """Two runs show what a token takes, a third that as many as that leaves room for fit."""
    least = encoder.info.max_tokens
    room = int(meter.available() * _SHARE)
    one = _peak(encoder, least, meter)
    if one is None or one > room:
        raise _too_small(encoder)
    twice = min(2 * least, wanted)
    two = _peak(encoder, twice, meter) if twice > least else one
    if two is None or two > room:
        return least
    tokens = twice
    if two > one:
        tokens = twice + int((room - two) * (twice - least) / (two - one))
    tokens = min(wanted, tokens)
    while tokens > twice:
        peak = _peak(encoder, tokens, meter)
        if peak is not None and peak <= room:
            return tokens
        tokens = int(tokens * _STEP)
    return twice


def _peak(encoder: Encoder, tokens: int, meter: Meter) -> int | None:
    """Bytes that a launch of so many tokens takes; None where there are not as many."""
    texts = _texts(encoder, tokens)

    def run() -> None:
        encoder.launch(texts, OUTPUTS, Codec.FP32)()

    try:
        return meter.peak(run)
    except torch.cuda.OutOfMemoryError:
        pass  # No other error: what else fails would fail at any size, and must be seen.
    # Not where it is caught: until then its traceback holds what the failed run had made.
    meter.release()
    return None


def _texts(encoder: Encoder, tokens: int) -> list[list[int]]:
    """As long as they can be, which takes the most memory."""
    special, longest = encoder.tokenizer.special, encoder.info.max_tokens
    lengths = [longest] * (tokens // longest)
    if tokens % longest >= 2:
        lengths.append(tokens % longest)
    return [[special.cls, *[special.unk] * (length - 2), special.eos] for length in lengths]


def _too_small(encoder: Encoder) -> InvalidConfiguration:
    info = encoder.info
    return InvalidConfiguration(
        f"there is not memory enough for one text of {info.max_tokens} tokens, the longest that "
        f"{info.id} reads: free some, or use a larger machine"
    )


class CudaMeter:
    """A GPU's memory, as torch hands it out to this process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def available(self) -> int:
        """See `Meter.available`: what is free, and what torch keeps in reserve."""
        free, _ = torch.cuda.mem_get_info(self._device)
        reserved = torch.cuda.memory_reserved(self._device)
        return free + reserved - torch.cuda.memory_allocated(self._device)

    def peak(self, run: Callable[[], object]) -> int:
        """See `Meter.peak`."""
        torch.cuda.synchronize(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        run()
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_allocated(self._device) - before

    def release(self) -> None:
        """See `Meter.release`."""
        torch.cuda.empty_cache()
