"""A text to spans of at most so many tokens, by semantic-text-splitter's borders.

The splitter knows sentences, lines, markdown blocks and headings. Added here is what it needs
to do megabytes in seconds: token counts that remember words, and windows, as its time grows
with the square of a stretch without borders.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from ingest.headings import Outline

Span: TypeAlias = tuple[int, int]

CHARACTERS_PER_TOKEN = 16
"""A token counts for so many at most: base64 or blank tables are cut rather than run on."""

_BLANK = re.compile(r"\s{500,}")
_CACHED_WORDS = 200_000
_CACHED_LENGTH = 64
_HEADING_RESERVE = 24


class WordCounts:
    """Tokens of a text as the sum over its words, each counted once.

    Close, and exact where the tokenizer splits at white space first, as BERT's and XLM-R's
    do; `Chunker` counts every finished passage as a whole.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, int] = {}

    def __call__(self, text: str, limit: int | None = None) -> int:
        least = len(text) // CHARACTERS_PER_TOKEN
        if limit is not None and least > limit:
            return least
        return max(least, sum(map(self._word, text.split())))

    def _word(self, word: str) -> int:
        count = self._known.get(word)
        if count is None:
            count = len(self._tokenizer.encode(word, add_special_tokens=False).ids)
            if len(word) <= _CACHED_LENGTH:
                if len(self._known) >= _CACHED_WORDS:
                    self._known.clear()
                self._known[word] = count
        return count
