"""A worker process whose model does what a text's second token says; run as a module."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from embedder.batching import worker
from embedder.encoders import loading
from embedder.encoders.encoder import Encoded, Launched, Pause
from embedder.model.tokens import SpecialTokens, TextTokenizer
from m3.codec import encode_tokens
from m3.errors import InvalidCheckpoint, InvalidConfiguration
from m3.settings import Settings
from m3.types import Codec, EmbeddingBatch, ModelInfo, Output, offsets_of

SPECIAL = SpecialTokens(cls=0, eos=2, pad=1, unk=3)
FAILS, UNFIT, DEADLY, FINISHES_LATE, BREAKS, WAITS = 10, 11, 12, 13, 14, 15
LAYERS = 20
SECONDS_PER_TOKEN = 0.001


class Stopwatch:
    """Only what the model computes takes time, so that no measure depends on the machine's pace."""

    seconds = 0.0

    @classmethod
    def read(cls) -> float:
        return cls.seconds


class FakeDevice:
    """What breaks stays broken, as a GPU does for a process."""

    broken = False

    @classmethod
    def break_down(cls) -> None:
        cls.broken = True
        raise RuntimeError("an illegal memory access was encountered")

    @classmethod
    def check(cls, _: int | None) -> None:
        if cls.broken:
            raise RuntimeError("an illegal memory access was encountered")


class FakeEncoder:
    """A text's dense vector holds its length and its process; a token takes a millisecond.

    Files in `home` are what it and a test tell each other: it says by `begun` that it is in the
    midst of a text that WAITS, and goes on with that, or finishes one that FINISHES_LATE, when
    there is `go`.
    """

    info = ModelInfo("fake", "f" * 32, "fp32", 2, 8192)
    engine = "fake"
    tokenizer = TextTokenizer(Tokenizer(WordLevel({"a": 0, "?": 3}, unk_token="?")), SPECIAL)

    def __init__(self, home: Path) -> None:
        self._home = home

    def launch(
        self,
        token_ids: Sequence[Sequence[int]],
        outputs: Collection[Output],
        codec: Codec = Codec.FP32,
        pause: Pause | None = None,
    ) -> Launched:
        lengths = [len(ids) for ids in token_ids]
        marks = {ids[1] for ids in token_ids}
        for layer in range(LAYERS):
            if pause:
                pause()
            if WAITS in marks and layer == LAYERS // 2:
                (self._home / "begun").touch()
                self._wait(pause)
            Stopwatch.seconds += sum(lengths) * SECONDS_PER_TOKEN / LAYERS
        if FAILS in marks:
            raise RuntimeError("out of memory")
        if BREAKS in marks:
            FakeDevice.break_down()
        if DEADLY in marks:
            os.kill(os.getpid(), signal.SIGSEGV)
        return lambda: self._finish(token_ids, codec)

    def _wait(self, pause: Pause | None = None) -> None:
        while not (self._home / "go").exists():
            time.sleep(0.001)
            if pause:
                pause()

    def _finish(self, token_ids: Sequence[Sequence[int]], codec: Codec) -> Encoded:
        if any(ids[1] == FINISHES_LATE for ids in token_ids):
            self._wait()
        n, lengths = len(token_ids), [len(ids) for ids in token_ids]
        batch = EmbeddingBatch(
            dense=np.array([[size, os.getpid()] for size in lengths], np.float32),
            sparse_offsets=np.zeros(n + 1, np.int64),
            sparse_ids=np.zeros(0, np.int32),
            sparse_weights=np.zeros(0, np.float32),
            token_offsets=offsets_of([size - 1 for size in lengths]),
            token_ids=np.array([i for ids in token_ids for i in ids[1:]], np.int32),
            codes=encode_tokens(np.ones((sum(lengths) - n, 2), np.float32), codec),
            tokens=np.array(lengths, np.int32),
            truncated=np.zeros(n, np.bool_),
            codec=codec,
        )
        return Encoded(batch, frozenset(i for i, ids in enumerate(token_ids) if ids[1] == UNFIT))


def load(settings: Settings, name: loading.EncoderName, device: int | None) -> FakeEncoder:
    """Tells each attempt in `home`, where a file says what should go wrong; no GPU is of use."""
    with (settings.home / "attempts").open("a") as attempts:
        attempts.write(f"{os.getpid()}\n")
    if (settings.home / "broken").exists():
        raise InvalidCheckpoint("the checkpoint is broken")
    if device is not None:
        raise InvalidConfiguration("the GPU cannot be used")
    if (settings.home / "deadly").exists():
        os._exit(9)
    return FakeEncoder(settings.home)


if __name__ == "__main__":
    time.perf_counter = Stopwatch.read
    sound = int(os.environ.get("FAKE_DEVICES", "1"))
    unusable = int(os.environ.get("FAKE_UNUSABLE_DEVICES", "0"))
    devices = [*[None] * sound, *range(unusable)]
    worker.main(load, lambda: devices, lambda _, wanted: wanted, FakeDevice.check)
