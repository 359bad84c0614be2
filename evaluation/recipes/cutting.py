"""Texts cut after as many tokens as the paper's scripts let the model read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tokenizers import Tokenizer

from m3.types import Document, model_text


class Cutter:
    """Cuts by the model's own tokenizer, special tokens counted.

    A cut text is tokenised again later. Where the cut goes through a word, its last pieces may
    then be other ones than those the model would have read of the whole text.
    """

    def __init__(self, tokenizer: str, *, query: int, passage: int) -> None:
        """Args:
        tokenizer: its JSON, as a node serves it.
        query, passage: tokens of each.
        """
        self._tokenizer: Any = Tokenizer.from_str(tokenizer)
        self._tokenizer.no_truncation()
        self._special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._query, self._passage = query, passage

    def query(self, text: str) -> str:
        return self._cut(text, self._query)

    def document(self, document: Document) -> Document:
        """One that is too long has its title in its text: the model reads the same."""
        whole = model_text(document.title, document.text)
        kept = self._cut(whole, self._passage)
        return document if kept == whole else replace(document, title="", text=kept)

    def _cut(self, text: str, tokens: int) -> str:
        room = tokens - self._special
        ends = [end for _, end in self._tokenizer.encode(text, add_special_tokens=False).offsets]
        return text if len(ends) <= room else text[: ends[room - 1]]
