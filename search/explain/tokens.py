"""A model's tokens by name, and where they stand in a text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from search.response import Span

_SPACE = "\u2581"
"""How SentencePiece writes white space."""


class Tokens:
    """The tokenizer of a model, as a node serves it. Threads may share it."""

    def __init__(self, tokenizer: str) -> None:
        """`tokenizer`: its JSON."""
        from tokenizers import Tokenizer  # noqa: PLC0415 - only explanations need it

        self._tokenizer: Any = Tokenizer.from_str(tokenizer)

    def name(self, id_: int) -> str:
        """As the vocabulary writes it; `#id` for one that it does not have."""
        return self._tokenizer.id_to_token(id_) or f"#{id_}"

    def spans(
        self, before: str, text: str, ids: Sequence[int], wanted: Iterable[int]
    ) -> dict[int, Span]:
        """Where tokens that the model read stand in a text: characters [start, end).

        There is none for tokens of what stands before the text, special tokens, and tokens of
        nothing but white space.

        Args:
            before: what the model read before the text, with all that is between them.
            ids: all tokens as they are stored, without the first special one.
            wanted: the numbers of those that are asked for.
        """
        read = self._tokenizer.encode(before + text, add_special_tokens=False)
        found, offsets, tokens = read.ids, read.offsets, read.tokens
        spans: dict[int, Span] = {}
        for i in wanted:
            # A lone mark of white space is said to be where the word after it begins.
            if i < len(found) and found[i] == ids[i] and tokens[i] != _SPACE:
                start, end = offsets[i]
                if span := _within(text, start - len(before), end - len(before)):
                    spans[i] = span
        return spans


def _within(text: str, start: int, end: int) -> Span | None:
    """A token's characters without white space around them: some tokenizers count it in."""
    if end <= 0:
        return None
    token = text[max(start, 0) : end]
    kept = token.lstrip()
    first, length = end - len(kept), len(kept.rstrip())
    return (first, first + length) if length else None


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in their order, those that touch made one."""
    made: list[Span] = []
    for start, end in sorted(spans):
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((start, end))
    return made
