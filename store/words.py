"""Words that a passage must or must not hold: what that means, exactly (`holds`).

Text is compared by its Unicode NFKC form, case-folded. A word is there where no letter, digit,
mark or `_` touches it; next to scripts that are written without spaces (Chinese, Japanese, Thai,
Lao, Khmer, Burmese) it may stand anywhere. Between the words of a phrase stands any white space.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache

from m3.errors import InvalidInput

MAX_WORDS = 64
MAX_CHARACTERS = 200

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\U00020000-\U0003ffff"
)

_PLANES = 0x20000
_SELECTORS = "\U000e0100-\U000e01ef"
"""The only marks beyond the first two planes."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a passage must hold all of, and what none of, in its title or its text.

    Raises:
        InvalidInput: too many words, an empty one or one that is too long.
    """

    must: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (count := len(self.must) + len(self.must_not)) > MAX_WORDS:
            raise InvalidInput(f"must and must_not have {count} words: send at most {MAX_WORDS}")
        for name, words in (("must", self.must), ("must_not", self.must_not)):
            for place, word in enumerate(words):
                if len(word) > MAX_CHARACTERS or not fold(word).split():
                    raise InvalidInput(
                        f"{name}[{place}] must have 1 to {MAX_CHARACTERS} characters and not be "
                        f"blank, got {len(word)}"
                    )

    def __bool__(self) -> bool:
        return bool(self.must or self.must_not)

    def allow(self, title: str, text: str) -> bool:
        """Whether a passage has what it must have and nothing that it must not have."""
        folded = (fold(title), fold(text))
        return all(_held(folded, word) for word in self.must) and not any(
            _held(folded, word) for word in self.must_not
        )


def holds(text: str, word: str) -> bool:
    """Whether a text has a word or phrase as whole words."""
    return _held((fold(text),), word)


def fold(text: str) -> str:
    """What texts and words are compared by."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _held(folded: Iterable[str], word: str) -> bool:
    pattern = _pattern(word)
    return any(pattern.search(text) for text in folded)


@lru_cache(maxsize=1_024)
def _pattern(word: str) -> re.Pattern[str]:
    parts = fold(word).split()
    first, last = parts[0][0], parts[-1][-1]
    touching = rf"(?![{_UNSPACED}])[\w{marks()}]"
    before = "" if _is_unspaced(first) else f"(?<!{touching})"
    # A mark belongs to the letter before it, in every script.
    after = f"(?![{marks()}])" if _is_unspaced(last) else f"(?!{touching})(?![{marks()}])"
    return re.compile(before + r"\s+".join(map(re.escape, parts)) + after)


def _is_unspaced(character: str) -> bool:
    return re.fullmatch(f"[{_UNSPACED}]", character) is not None


@cache
def marks() -> str:
    """Every mark (accents, vowel signs), as the inside of a character class."""
    return ranges(code for code in range(_PLANES) if is_mark(chr(code))) + _SELECTORS


def is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def ranges(codes: Iterable[int]) -> str:
    """Ascending code points as the inside of a character class, for Python and for Rust."""
    spans: list[list[int]] = []
    for code in codes:
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(f"{_quoted(first)}-{_quoted(last)}" for first, last in spans)


def _quoted(code: int) -> str:
    return re.escape(chr(code))
