"""Words as an SQL condition of Lance: never less than `words.Words.allow` lets through.

Lance can look for a piece of text in another's lower case. That is what `words.holds` looks at,
but for characters that NFKC or folding makes something else of: `ﬁ`, fullwidth letters, `ß`,
accents that stand alone. A text with one of those is let through, and looked at in Python.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import groupby

from store.words import Words, fold, is_mark

_COLUMNS = ("title", "text")

_STABLE = 0x530
"""Below, all versions of Unicode that are in use agree on upper and lower case."""
_IDEOGRAPHS = 0x20000
_BEYOND = "\U0002f800-\U0010ffff"
"""Between these two, characters are as they are; beyond are compatibility forms and the like."""
_SYLLABLES = range(0xAC00, 0xD7A4)
_JAMO = (range(0x1100, 0x1200), range(0xA960, 0xA980), range(0xD7B0, 0xD800))
"""Parts of Korean syllables, which NFKC puts together."""
_SIGMA = "\u03a3"
"""Its lower case depends on where it stands in a word."""


def allowed(words: Words) -> str:
    """True for every row that holds all that it must."""
    return " and ".join(f"({_held(word)})" for word in words.must) or "true"


def forbidden(words: Words) -> str:
    """True for every row that holds something that it must not."""
    return " or ".join(f"({_held(word)})" for word in words.must_not) or "false"


def surely_forbidden(words: Words) -> str:
    """True for no row but those that hold something that they must not, and for most of these.

    Letters and digits of ASCII between two spaces are a whole word however a text is folded.
    """
    plain = [fold(word) for word in words.must_not if word.isascii() and word.isalnum()]
    return (
        " or ".join(
            f"contains(lower({column}), ' {word} ')" for word in plain for column in _COLUMNS
        )
        or "false"
    )


def _held(word: str) -> str:
    piece = _piece(word)
    if not piece:
        return "true"
    other = _other_ascii() if piece.isascii() else _other()
    return " or ".join(
        f"contains(lower({column}), '{piece}') or regexp_like({column}, '[{other}]')"
        for column in _COLUMNS
    )


def _piece(word: str) -> str:
    """The longest run of letters and digits in a word: nothing that SQL or spaces could break."""
    runs = ("".join(run) for kind, run in groupby(fold(word), str.isalnum) if kind)
    return max(runs, key=len, default="")


@cache
def _other() -> str:
    """Characters whose lower case may not be what they fold to, as far as that has letters."""
    return _ranges(code for code in range(0x80, _IDEOGRAPHS) if _is_other(code)) + _BEYOND


@cache
def _other_ascii() -> str:
    """Characters that fold to ASCII letters and digits, and are none."""
    return _ranges(
        code
        for code in range(0x80, _IDEOGRAPHS)
        if any(c.isascii() and c.isalnum() for c in fold(chr(code)))
    )


def _is_other(code: int) -> bool:
    character = chr(code)
    category = unicodedata.category(character)
    if category == "Cs" or code in _SYLLABLES:
        return False
    if category == "Cn" or is_mark(character) or character == _SIGMA:
        return True
    if any(code in jamo for jamo in _JAMO):
        return True
    folded = fold(character)
    same = character if code >= _STABLE else character.lower()
    return folded != same and any(c.isalnum() or is_mark(c) for c in folded)


def _ranges(codes: Iterable[int]) -> str:
    """Ascending code points as the inside of a character class."""
    spans: list[list[int]] = []
    for code in codes:
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(f"{_quoted(first)}-{_quoted(last)}" for first, last in spans)


def _quoted(code: int) -> str:
    return re.escape(chr(code))
