"""Texts without end, none of them twice."""

from __future__ import annotations

import random
from collections.abc import Iterator

from bench.texts import sample_texts


def passages(seed: int = 0) -> Iterator[str]:
    """Paragraphs of the sample, their words in another order each time."""
    rng = random.Random(seed)
    paragraphs = sample_texts("corpus.jsonl")
    while True:
        words = rng.choice(paragraphs).split()
        rng.shuffle(words)
        yield " ".join(words)


def queries(seed: int = 0) -> Iterator[str]:
    """Questions of the sample, likewise."""
    rng = random.Random(seed)
    questions = sample_texts("queries.jsonl")
    while True:
        words = rng.choice(questions).split()
        rng.shuffle(words)
        yield " ".join(words)
