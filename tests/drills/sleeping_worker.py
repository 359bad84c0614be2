"""A worker that sleeps for as long as a device would compute; run as a module by its node.

Nodes of it behave as real ones, one core's worth of them each, on a machine that has two.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from embedder.batching import worker
from embedder.encoders import loading
from embedder.encoders.encoder import Encoded, Launched, Pause
from embedder.model.tokens import TextTokenizer
from m3.settings import Settings
from m3.types import Codec, Output
from tests.embedder.fake_worker import LAYERS, SPECIAL, FakeEncoder

WORDS = {f"w{number:03}": 100 + number for number in range(900)}


class SleepingEncoder(FakeEncoder):
    """`DRILL_TOKENS_PER_SECOND` in the environment says how fast it is; a word is a token."""

    engine = "sleeping"

    def __init__(self) -> None:
        words = Tokenizer(WordLevel({**WORDS, "?": SPECIAL.unk}, unk_token="?"))
        words.pre_tokenizer = Whitespace()
        self.tokenizer = TextTokenizer(words, SPECIAL)
        self._rate = float(os.environ["DRILL_TOKENS_PER_SECOND"])

    def launch(
        self,
        token_ids: Sequence[Sequence[int]],
        outputs: Collection[Output],
        codec: Codec = Codec.FP32,
        pause: Pause | None = None,
    ) -> Launched:
        seconds = sum(map(len, token_ids)) / self._rate
        for _ in range(LAYERS):
            if pause:
                pause()
            time.sleep(seconds / LAYERS)
        return lambda: self._columns(token_ids, codec)

    def _columns(self, token_ids: Sequence[Sequence[int]], codec: Codec) -> Encoded:
        found = self._finish(token_ids, codec)
        if codec is Codec.FP32:
            return found
        return replace(
            found, batch=replace(found.batch, dense=found.batch.dense.astype(np.float16))
        )


def load(_: Settings, __: loading.EncoderName, ___: int | None) -> SleepingEncoder:
    return SleepingEncoder()


if __name__ == "__main__":
    worker.main(load, lambda: [None], lambda _, wanted: wanted)
