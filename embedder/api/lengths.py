"""How long texts will be, before they are tokenised."""

from __future__ import annotations

from collections.abc import Sequence

from embedder.model.tokens import TokenizedText

SHORTEST = 3
"""Tokens below which nothing of a text would be read."""
_FIRST = 6.0
"""Characters of a text for each token, as long as none was seen: more than most have."""
_FIRST_TOKENS = 64
_FADING = 0.98
"""What a request before the last counts of it."""
_SPREAD = 1.1
"""A text is taken for so much longer than the same characters were on average: few are longer.
Whoever is taken for shorter than he is may be refused only after tokenising, which under overload,
where the queue is always a text short of full, costs the node more than a refusal; for longer,
though there was room, which the next takes."""


class Lengths:
    """Tokens of texts by their characters, as it was in requests of late."""

    def __init__(self, longest: int) -> None:
        """`longest` is what the model reads of a text."""
        self._longest = longest
        self._characters, self._tokens = _FIRST * _SPREAD * _FIRST_TOKENS, float(_FIRST_TOKENS)

    def tokens(
        self, texts: Sequence[str] | Sequence[Sequence[int]], max_length: int | None = None
    ) -> int:
        """Of texts as they came, or of their token ids; each is cut to `max_length`."""
        most = min(max_length or self._longest, self._longest)
        return sum(min(max(self._of(text), SHORTEST), most) for text in texts)

    def learn(self, texts: Sequence[str], tokenized: Sequence[TokenizedText]) -> None:
        """What a request's texts turned out to have; one that was cut says nothing."""
        whole = [pair for pair in zip(texts, tokenized, strict=True) if not pair[1].truncated]
        self._characters = _FADING * self._characters + sum(len(text) for text, _ in whole)
        self._tokens = _FADING * self._tokens + sum(len(read.ids) for _, read in whole)

    def _of(self, text: str | Sequence[int]) -> int:
        if not isinstance(text, str):
            return len(text)
        return round(len(text) * self._tokens * _SPREAD / self._characters)
