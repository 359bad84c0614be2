"""Text to the token ids the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

_CHARACTERS_PER_TOKEN = 8
"""More than most languages have, so that the first look at a text nearly always suffices."""
_REACH = 256
"""Tokens at its end that a text's continuation may still change: more than one word has."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids of the tokens a checkpoint names; none of them is a lexical term.

    Attributes:
        cls: opens every text; eos closes it.
    """

    cls: int
    eos: int
    pad: int
    unk: int

    def as_tuple(self) -> tuple[int, int, int, int]:
        return (self.cls, self.eos, self.pad, self.unk)


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """What the model reads of one text, special tokens included."""

    ids: list[int]
    truncated: bool


class TextTokenizer:
    """A checkpoint's tokenizer. Holds no state of a call, so threads may share it."""

    def __init__(self, tokenizer: Tokenizer, special: SpecialTokens) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.special = special

    def tokenize(self, texts: Sequence[str], max_length: int) -> list[TokenizedText]:
        """Cut to `max_length` tokens, as `transformers` does: the content loses its end.

        Of a long text no more is tokenised than that takes: memory and time do not grow with
        what is cut off.
        """
        enough = max_length + _REACH
        characters = enough * _CHARACTERS_PER_TOKEN
        found: dict[int, TokenizedText] = {}
        while len(found) < len(texts):
            open_texts = [i for i in range(len(texts)) if i not in found]
            encodings = self._tokenizer.encode_batch_fast(
                [texts[i][:characters] for i in open_texts], add_special_tokens=False
            )
            for i, ids in zip(open_texts, (encoding.ids for encoding in encodings), strict=True):
                if len(texts[i]) <= characters or len(ids) >= enough:
                    found[i] = self.wrap(ids, max_length)
            characters *= 4
        return [found[i] for i in range(len(texts))]

    def wrap(self, content: Sequence[int], max_length: int) -> TokenizedText:
        """Content ids between the special tokens."""
        room = max_length - 2
        ids = [self.special.cls, *content[:room], self.special.eos]
        return TokenizedText(ids, truncated=len(content) > room)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each id as the vocabulary writes it."""
        return [self._tokenizer.id_to_token(i) or "" for i in ids]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where each content token of a text, uncut, is in it: characters [start, end)."""
        return self._tokenizer.encode(text, add_special_tokens=False).offsets

    @property
    def vocabulary(self) -> int:
        """Ids run from 0 to below this."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def to_json(self) -> str:
        """The whole tokenizer as `tokenizers.Tokenizer.from_str` reads it, cutting nothing."""
        return self._tokenizer.to_str()
