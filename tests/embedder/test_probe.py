"""The budget of a launch is what memory there is for, and only want of memory lowers it."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from embedder.encoders import probe
from embedder.encoders.probe import capacity
from embedder.model.checkpoint import open_checkpoint
from embedder.model.tokens import SpecialTokens
from m3.errors import InvalidConfiguration
from m3.types import ModelInfo

LONGEST = 512
BASE = 10_000
PER_TOKEN = 100


class FakeEncoder:
    """Takes `PER_TOKEN` bytes a token over a base, and more from `steep` tokens on."""

    def __init__(self, steep: int = 10**9, error: Exception | None = None) -> None:
        self.info = ModelInfo("fake", "f" * 32, "fp32", 8, LONGEST)
        self.tokenizer = SimpleNamespace(special=SpecialTokens(0, 2, 1, 3))
        self.steep = steep
        self.error = error
        self.launched: list[int] = []
        self.taken = 0

    def launch(self, token_ids, outputs, codec) -> Callable[[], Any]:
        assert max(map(len, token_ids)) <= LONGEST
        assert min(map(len, token_ids)) >= 2
        assert set(outputs) == {"dense", "sparse", "colbert"}
        tokens = sum(map(len, token_ids))
        self.launched.append(tokens)
        if self.error is not None:
            raise self.error
        self.taken = BASE + PER_TOKEN * tokens * (3 if tokens > self.steep else 1)
        return lambda: None


class FakeMeter:
    """A device of so many bytes, which fails as a GPU does when they are not enough."""

    def __init__(self, encoder: FakeEncoder, total: int) -> None:
        self.encoder = encoder
        self.total = total
        self.released = 0
        self.made: weakref.ref[torch.Tensor] | None = None

    def available(self) -> int:
        return self.total

    def peak(self, run: Callable[[], object]) -> int:
        run()
        if self.encoder.taken > self.total:
            made = torch.empty(1)
            self.made = weakref.ref(made)
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.encoder.taken

    def release(self) -> None:
        assert self.made is not None
        assert self.made() is None, "what a failed run made can be given back"
        self.released += 1


def measure(total: int, wanted: int, **how: Any) -> tuple[int, FakeEncoder, FakeMeter]:
    encoder = FakeEncoder(**how)
    meter = FakeMeter(encoder, total)
    return capacity(encoder, wanted, meter), encoder, meter  # pyright: ignore[reportArgumentType]


def test_what_is_wanted_is_given_where_there_is_room():
    found, encoder, _ = measure(total=10**9, wanted=16_384)
    assert found == 16_384
    assert max(encoder.launched) == 16_384, "confirmed by running it"


def test_little_memory_gives_what_fits_and_keeps_headroom():
    total = BASE + PER_TOKEN * 5000
    found, encoder, _ = measure(total=total, wanted=16_384)
    assert 0.85 * 5000 < found < 5000
    assert BASE + PER_TOKEN * max(encoder.launched) <= 0.9 * total


def test_a_guess_that_does_not_hold_is_lowered_until_it_does():
    total = BASE + PER_TOKEN * 5000
    found, encoder, meter = measure(total=total, wanted=16_384, steep=2000)
    assert meter.released > 0
    assert LONGEST < found <= 2000
    assert found in encoder.launched


def test_a_budget_never_cuts_the_longest_text():
    assert measure(total=10**9, wanted=100)[0] == LONGEST
    assert measure(total=int((BASE + PER_TOKEN * (LONGEST + 20)) / 0.9), wanted=4096)[0] == LONGEST


def test_no_room_for_the_longest_text_is_said_plainly():
    with pytest.raises(InvalidConfiguration, match="one text of 512 tokens"):
        measure(total=PER_TOKEN * LONGEST, wanted=4096)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error: an illegal memory access was encountered"), MemoryError("host")],
)
def test_another_error_is_not_taken_for_want_of_memory(error):
    encoder = FakeEncoder(error=error)
    meter = FakeMeter(encoder, 10**9)
    with pytest.raises(type(error)):
        capacity(encoder, 4096, meter)  # pyright: ignore[reportArgumentType]
    assert len(encoder.launched) == 1
    assert meter.released == 0


def test_on_a_cpu_tokens_are_counted_and_nothing_runs(monkeypatch):
    encoder = FakeEncoder()
    per_token = 4 * 24 * 8
    monkeypatch.setattr(probe, "available_memory", lambda: 2 * per_token * 1000)
    assert capacity(encoder, 4096) == 1000  # pyright: ignore[reportArgumentType]
    assert capacity(encoder, 600) == 600  # pyright: ignore[reportArgumentType]
    assert encoder.launched == []
    monkeypatch.setattr(probe, "available_memory", lambda: 2 * per_token * (LONGEST - 1))
    with pytest.raises(InvalidConfiguration, match="512 tokens"):
        capacity(encoder, 4096)  # pyright: ignore[reportArgumentType]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_on_a_cpu_a_launch_takes_no_more_than_is_counted(stand_in):
    from embedder.encoders.packed import PackedEncoder
    from m3.types import OUTPUTS

    encoder = PackedEncoder(open_checkpoint(stand_in), "fp32", torch.device("cpu"))
    tokens = 4096
    texts = [[101, *[2000] * (LONGEST - 2), 102]] * (tokens // LONGEST)
    encoder.launch(texts[:1], OUTPUTS)()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    result = encoder.launch(texts, OUTPUTS)()
    taken = _status("VmHWM") - before
    assert len(result.batch) == len(texts)
    assert taken <= tokens * 4 * 24 * encoder.info.dimension


def _status(field: str) -> int:
    """Bytes."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) * 1024


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_a_gpu_runs_what_it_says_it_can(stand_in):
    from embedder.encoders.packed import PackedEncoder

    encoder = PackedEncoder(open_checkpoint(stand_in))
    assert capacity(encoder, 8192) == 8192
