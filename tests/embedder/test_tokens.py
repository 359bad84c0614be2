"""Tokenising only what is read gives what tokenising everything would."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from embedder.model.checkpoint import open_checkpoint
from embedder.model.tokens import TextTokenizer

parts = st.sampled_from(
    ["retrieval ", "a", " ", "\n" * 40, "語言模型", "x" * 99, "y" * 150, ", ", "[SEP]", "é", "🙂"]
)
long_texts = st.builds(
    lambda head, repeated, times, tail: head + repeated * times + tail,
    st.lists(parts, max_size=5).map("".join),
    st.lists(parts, min_size=1, max_size=5).map("".join),
    st.integers(1, 800),
    st.lists(parts, max_size=5).map("".join),
)


@pytest.fixture(scope="module")
def tokenizer(stand_in: Path) -> TextTokenizer:
    return open_checkpoint(stand_in).tokenizer


@pytest.fixture(scope="module")
def whole(stand_in: Path) -> Tokenizer:
    return Tokenizer.from_file(str(stand_in / "tokenizer.json"))


@settings(max_examples=30)
@given(st.lists(long_texts, min_size=1, max_size=3), st.integers(3, 512))
def test_it_is_the_beginning_of_the_whole(tokenizer, whole, texts, max_length):
    for text, found in zip(texts, tokenizer.tokenize(texts, max_length), strict=True):
        ids = whole.encode(text).ids
        assert found.truncated == (len(ids) > max_length)
        assert found.ids == ([*ids[: max_length - 1], 102] if found.truncated else ids)


class CountingTokenizer:
    """Counts the characters that it was given."""

    def __init__(self, whole: Tokenizer) -> None:
        self._whole = whole
        self.characters = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def encode_batch_fast(self, texts: Sequence[str], *, add_special_tokens: bool) -> Any:
        self.characters += sum(map(len, texts))
        return self._whole.encode_batch_fast(texts, add_special_tokens=add_special_tokens)


def test_a_text_of_ten_megabytes_costs_as_much_as_its_beginning(tokenizer, whole):
    counting: Any = CountingTokenizer(whole)
    text = "the cat sat on the mat, " * 400_000
    assert TextTokenizer(counting, tokenizer.special).tokenize([text], 512)[0].truncated
    assert counting.characters < 20 * 512
