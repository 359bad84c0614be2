"""Text to the token ids the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer


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
        """Cut to `max_length` tokens, as `transformers` does: the content loses its end."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self.wrap(encoding.ids, max_length) for encoding in encodings]

    def wrap(self, content: Sequence[int], max_length: int) -> TokenizedText:
        """Content ids between the special tokens."""
        room = max_length - 2
        ids = [self.special.cls, *content[:room], self.special.eos]
        return TokenizedText(ids, truncated=len(content) > room)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each id as the vocabulary writes it."""
        return [self._tokenizer.id_to_token(i) or "" for i in ids]

    @property
    def vocabulary(self) -> int:
        """Ids run from 0 to below this."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def to_json(self) -> str:
        """The whole tokenizer as `tokenizers.Tokenizer.from_str` reads it, cutting nothing."""
        return self._tokenizer.to_str()
