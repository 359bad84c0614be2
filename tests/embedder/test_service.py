"""What is refused before any work is done for it."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from embedder.api.service import EmbeddingService
from embedder.metrics import NodeMetrics
from embedder.model.tokens import TokenizedText
from m3.errors import Overloaded
from m3.types import ModelInfo

pytestmark = pytest.mark.anyio


class QueueWithRoom:
    """A queue that has room for so many tokens."""

    def __init__(self, room: int) -> None:
        self.room = room

    def refuse_if_full(self, kind: str, tokens: int, timeout: float | None) -> None:
        if tokens > self.room:
            raise Overloaded("full", 1.0)

    async def submit(self, *_: Any) -> str:
        return "computed"


class CountingTokenizer:
    def __init__(self) -> None:
        self.asked = 0

    def tokenize(self, texts: list[str], length: int) -> list[TokenizedText]:
        self.asked += 1
        return [TokenizedText([0] * min(len(text), length), len(text) > length) for text in texts]


def service(room: int) -> tuple[EmbeddingService, CountingTokenizer]:
    tokenizer: Any = CountingTokenizer()
    queue: Any = QueueWithRoom(room)
    info = ModelInfo("m", "f", "fp32", 8, 512)
    return EmbeddingService(
        info, "engine", tokenizer, queue, NodeMetrics(CollectorRegistry())
    ), tokenizer


@pytest.mark.parametrize(
    ("texts", "tokens"),
    [
        (["short"], 3),
        (["a word and more of them " * 10], 40),
        (["x" * 1_000_000], 512),
        (["short", "x" * 600], 103),
        ([[7] * 100, [7]], 103),
    ],
)
async def test_a_full_queue_refuses_by_length_and_tokenises_nothing(texts, tokens):
    full, tokenizer = service(room=tokens - 1)
    with pytest.raises(Overloaded):
        await full.encode(texts, "passage")
    assert tokenizer.asked == 0
    roomy, tokenizer = service(room=tokens)
    assert await roomy.encode(texts, "passage") == "computed"
    assert tokenizer.asked == 1


async def test_texts_are_taken_to_be_as_long_as_those_before_them():
    letters, _ = service(room=1 << 20)
    for _ in range(50):
        # The tokenizer's tokens are single letters.
        await letters.encode(["x" * 110], "passage")
    # A few more: whoever is taken for shorter would be tokenised before he is refused.
    assert 112 <= letters.lengths.tokens(["x" * 110]) <= 121
    assert letters.lengths.tokens(["x" * 1_000_000]) == 512


async def test_texts_that_were_cut_say_nothing_of_others():
    cut, _ = service(room=1 << 20)
    for _ in range(50):
        await cut.encode(["x" * 100_000], "passage")
    assert cut.lengths.tokens(["x" * 600]) == 100
