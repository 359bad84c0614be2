"""Texts to measure with: real ones of the sample, cut to a number of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from tokenizers import Tokenizer

SAMPLE = Path(__file__).parents[1] / "samples/xquad-en"


def sample_texts(name: str) -> list[str]:
    """The texts of one file of the sample."""
    lines = (SAMPLE / name).read_text("utf-8").splitlines()
    return [orjson.loads(line)["text"] for line in lines]


def texts_of(checkpoint: Path, lengths: Sequence[int]) -> list[str]:
    """A text of each length: as many words of the sample as a tokenizer makes of it, or one less.

    Args:
        lengths: tokens, special ones included; no text has more.
    """
    tokenizer: Any = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    words = " ".join(sample_texts("corpus.jsonl")).split()
    rng = np.random.default_rng(0)
    texts: list[str] = []
    for length in lengths:
        run = words[int(rng.integers(0, len(words) - length)) :][:length]
        whole = " ".join(run)
        # Words are no shorter than a token, so `length` of them are enough.
        ends = [end for _, end in tokenizer.encode(whole, add_special_tokens=False).offsets]
        texts.append(_longest(tokenizer, whole, ends, length))
    return texts


def _longest(tokenizer: Any, whole: str, ends: Sequence[int], length: int) -> str:
    """The longest prefix that ends with a token and has at most `length` tokens."""
    for end in reversed(ends[: length - 2]):
        if len(tokenizer.encode(whole[:end]).ids) <= length:
            return whole[:end]
    return whole[: ends[0]]


@dataclass(frozen=True, slots=True)
class Mix:
    """Texts and how they come.

    Attributes:
        alone: each text in a call of its own, as queries come; what counts is then wall time.
        targets: times faster than FlagEmbedding at its best, by precision.
        swept: texts that FlagEmbedding's batch sizes are tried on.
        peers: whether those that compute the dense vector alone run beside.
    """

    name: str
    texts: Sequence[str]
    targets: dict[str, float]
    alone: bool = False
    swept: int = 64
    peers: bool = False


def mixes(checkpoint: Path, *, mixed: int, queries: int = 16) -> list[Mix]:
    """The calls that an encoder is measured by.

    Args:
        mixed: texts of the call of mixed lengths; whatever their number, their lengths are
            spread evenly over 8 to 512 tokens.
    """
    spread = np.linspace(8, 512, mixed).astype(int).tolist()
    np.random.default_rng(0).shuffle(spread)
    passages = {"bf16": 4.3, "int8": 6.6}
    return [
        Mix("512 tokens, 8 a call", texts_of(checkpoint, [512] * 8), passages, swept=4),
        Mix("512 tokens, 2 a call", texts_of(checkpoint, [512] * 2), passages),
        Mix(
            "120 tokens, 8 a call",
            texts_of(checkpoint, [120] * 8),
            {"bf16": 3.8, "int8": 6.0},
            peers=True,
        ),
        Mix(
            "queries, one a call",
            sample_texts("queries.jsonl")[:queries],
            {"bf16": 6.0, "int8": 8.0},
            alone=True,
        ),
        Mix(
            f"8 to 512 tokens, {mixed} a call",
            texts_of(checkpoint, spread),
            {"bf16": 4.2, "int8": 6.5},
        ),
    ]
