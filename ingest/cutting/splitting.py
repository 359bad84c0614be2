"""A text to spans of at most so many tokens, at the borders that semantic-text-splitter knows.

Sentences, lines, markdown blocks and headings are the library's. Added here is what megabytes
and headings need: counts that remember words, windows (its time grows with the square of what
it is given), and that no chunk ends in the heading of the next.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias

from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from ingest.cutting.headings import Outline

Span: TypeAlias = tuple[int, int]

CHARACTERS_PER_TOKEN = 16
"""A token counts for so many at most: base64 and blank tables are cut rather than run on."""

_LONG_BLANK = re.compile(r"\s{500,}")
"""A border by itself: looking for overlap in one takes the splitter seconds."""

_BLANK = re.compile(r"\s*")
_CACHED_WORDS = 200_000
_WORD = 64
"""Characters: a longer word is counted in such pieces, which Chinese is full of."""


class Counts(Protocol):
    """How many tokens a text has; of more than `limit`, only that they are more."""

    def __call__(self, text: str, limit: int) -> int: ...


class ExactCounts:
    """The tokenizer asked each time, which is slow: a splitter asks some ten times a chunk."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str, limit: int) -> int:
        least = len(text) // CHARACTERS_PER_TOKEN
        if least > limit:
            return least
        return max(least, len(self._tokenizer.encode(text, add_special_tokens=False).ids))


class WordCounts:
    """The sum over a text's words, each counted once.

    Exact for words of usual length where the tokenizer splits at white space first, as
    BERT's and XLM-R's do. Whoever needs certainty counts the finished passage.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, int] = {}

    def __call__(self, text: str, limit: int) -> int:
        least = len(text) // CHARACTERS_PER_TOKEN
        if least > limit:
            return least
        total = 0
        for word in text.split():
            for first in range(0, len(word), _WORD):
                total += self._word(word[first : first + _WORD])
                if total > limit:
                    return total
        return max(total, least)

    def _word(self, word: str) -> int:
        count = self._known.get(word)
        if count is None:
            count = len(self._tokenizer.encode(word, add_special_tokens=False).ids)
            if len(self._known) >= _CACHED_WORDS:
                self._known.clear()
            self._known[word] = count
        return count


class Splitting:
    """One way to cut: so many tokens a span, so many shared with the one before."""

    def __init__(self, counts: Counts, capacity: int, overlap: int) -> None:
        self._counts = counts
        self._capacity = capacity
        self._overlap = min(overlap, capacity // 2)
        self._window = 2 * capacity * CHARACTERS_PER_TOKEN

    def plain(self, text: str) -> list[Span]:
        """Spans of plain text; together they hold all that is not white space."""
        if self._size(text) <= self._capacity:
            return [_stripped(text)]
        splitter = TextSplitter.from_callback(self._size, self._capacity, self._overlap)
        return list(self._spans(splitter, text, ()))

    def markdown(self, text: str, outline: Outline) -> list[Span]:
        """Spans of markdown, none of which ends in a heading that the next could begin with."""
        if self._size(text) <= self._capacity:
            return [_stripped(text)]
        room = self._capacity // 8 if outline.headings else 0
        splitter = MarkdownSplitter.from_callback(
            self._size, self._capacity - room, min(self._overlap, self._capacity - room - 1)
        )
        spans = list(self._spans(splitter, text, outline.starts))
        return self._headings_lead(spans, text, outline)

    def _size(self, text: str) -> int:
        return self._counts(text, self._capacity)

    def _spans(
        self, splitter: TextSplitter | MarkdownSplitter, text: str, borders: Sequence[int]
    ) -> Iterator[Span]:
        for first, stop in _stretches(text):
            start = first
            while start < stop:
                end, at_border = self._window_end(start, stop, borders)
                spans = [
                    (start + offset, start + offset + len(piece))
                    for offset, piece in splitter.chunk_indices(text[start:end])
                    # Unicode's separators are white space to Python alone.
                    if piece.strip()
                ]
                # The last span of a window that ends anywhere is cut again with what follows.
                start = end if at_border or len(spans) < 2 else spans.pop()[0]
                yield from spans

    def _window_end(self, start: int, stop: int, borders: Sequence[int]) -> tuple[int, bool]:
        """Where the window from `start` ends, and whether that is a border anyway."""
        end = start + self._window
        if end >= stop:
            return stop, True
        before = bisect_right(borders, end)
        if before and borders[before - 1] > start:
            return borders[before - 1], True
        return end, False

    def _headings_lead(self, spans: list[Span], text: str, outline: Outline) -> list[Span]:
        """Headings at the end of a span go to the next one, where it has room for them."""
        result = spans[-1:]
        for start, end in reversed(spans[:-1]):
            next_start, next_end = result[-1]
            cut = _trailing_headings(text, start, end, outline)
            if cut == end or self._size(text[min(cut, next_start) : next_end]) > self._capacity:
                result.append((start, end))
                continue
            result[-1] = (min(cut, next_start), next_end)
            if rest := text[start:cut].rstrip():
                result.append((start, start + len(rest)))
        return result[::-1]


def _stripped(text: str) -> Span:
    return past_blank(text, 0), len(text.rstrip())


def _stretches(text: str) -> Iterator[Span]:
    """The text between its long blanks."""
    start = 0
    for blank in _LONG_BLANK.finditer(text):
        yield start, blank.start()
        start = blank.end()
    yield start, len(text)


def _trailing_headings(text: str, start: int, end: int, outline: Outline) -> int:
    """Where the headings begin that `[start, end)` ends with; `end` where it ends in text."""
    cut = end
    index = bisect_right(outline.starts, end - 1) - 1
    while index >= 0 and outline.starts[index] >= start:
        heading = outline.headings[index]
        if text[heading.end : cut].strip():
            break
        cut = heading.start
        index -= 1
    return cut


def past_blank(text: str, position: int) -> int:
    """The first position from `position` on that is not white space."""
    blank = _BLANK.match(text, position)
    return blank.end() if blank else position
