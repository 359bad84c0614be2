"""Whether a passage holds an answer: how question answering judges retrieval (RocketQA, DPR)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import groupby

_WORD = frozenset("LNM")
"""Unicode's letters, numbers and marks."""
_BLANK = frozenset("ZC")

_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2043\u2012\u2013\u2014\u2015\u2212\uff0d\u207b", "-"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u055a\ua78b\ua78c\uff07`\u00b4", "'"),
        **dict.fromkeys("\u2032\u2035", "'"),
        **dict.fromkeys("\u2033\u2036", "''"),
        **dict.fromkeys("\u2034\u2037", "'''"),
        **dict.fromkeys("\u2044\u2215", "/"),
        **dict.fromkeys("\u000b\u000c\u0085", " "),
        **dict.fromkeys([*range(1, 9), 14, 15, *range(17, 28), 0xAD]),
        "\u2057": "''''",
        "\u2026": "...",
    }
)


def plain(text: str) -> str:
    """Dashes, quotes and slashes in their ASCII forms, without control characters."""
    return text.translate(_PLAIN).replace(" . . . ", " ... ")


def words(text: str) -> list[str]:
    """Runs of letters, numbers and marks, and every other visible character by itself.

    In lower case, decomposed (NFD).
    """
    found: list[str] = []
    for kind, run in groupby(unicodedata.normalize("NFD", text), _kind):
        if kind == "word":
            found.append("".join(run).lower())
        elif kind == "sign":
            found += [character.lower() for character in run]
    return found


def _kind(character: str) -> str:
    category = unicodedata.category(character)[0]
    return "word" if category in _WORD else "blank" if category in _BLANK else "sign"


class Answers:
    """The answers to one question. One without a word is found nowhere."""

    def __init__(self, answers: Sequence[str]) -> None:
        self._answers = [found for answer in answers if (found := words(answer))]

    def are_in(self, passage: str) -> bool:
        """Whether one of them stands in the passage, word for word."""
        text = words(passage)
        return any(_is_in(answer, text) for answer in self._answers)


def _is_in(answer: list[str], text: list[str]) -> bool:
    return any(
        text[start : start + len(answer)] == answer
        for start in range(len(text) - len(answer) + 1)
        if text[start] == answer[0]
    )
