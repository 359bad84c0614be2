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
from functools import lru_cache

from m3.errors import InvalidInput

MAX_WORDS = 64
MAX_CHARACTERS = 200

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\U00020000-\U0003ffff]"
)


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
    return any(_has(text, pattern) for text in folded)


def _has(text: str, pattern: re.Pattern[str]) -> bool:
    found = pattern.search(text)
    while found and not _is_whole(text, found.start(), found.end()):
        found = pattern.search(text, found.start() + 1)
    return found is not None


@lru_cache(maxsize=1_024)
def _pattern(word: str) -> re.Pattern[str]:
    # Nothing but the letters: looking around at each place of a text takes far longer.
    return re.compile(r"\s+".join(map(re.escape, fold(word).split())))


def _is_whole(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start], text[end : end + 1]
    # A mark belongs to the letter before it, in every script.
    return not (_touch(before, text[start]) or _touch(after, text[end - 1]) or is_mark(after))


def _touch(beyond: str, edge: str) -> bool:
    """Whether a character beside a word's first or last one makes it part of a longer word."""
    return (
        beyond != ""
        and (beyond == "_" or beyond.isalnum() or is_mark(beyond))
        and not (_UNSPACED.match(beyond) or _UNSPACED.match(edge))
    )


def is_mark(character: str) -> bool:
    """Whether it is an accent, a vowel sign or the like; nothing is none."""
    return character != "" and unicodedata.category(character).startswith("M")
