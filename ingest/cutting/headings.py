"""Where a markdown text's headings are: by a parser, so that a `#` in a code fence is none."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from markdown_it import MarkdownIt

_NEWLINE = re.compile(r"\r\n?|\n")
"""What the parser counts as a line break; `str.splitlines` knows more."""

_MAX_LABEL = 500
"""Characters of a heading that are read: every chunk below carries it."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of the document itself, not one in a quotation or a list.

    Attributes:
        start, end: its characters in the text, without the line break after it.
        level: 1 to 6.
        text: without markup; never empty.
    """

    start: int
    end: int
    level: int
    text: str


class Outline:
    """A text's headings in order, and what stands under which."""

    def __init__(self, headings: Iterable[Heading] = ()) -> None:
        self.headings = tuple(headings)
        self.starts = [heading.start for heading in self.headings]
        self._paths: list[tuple[str, ...]] = [()]
        above: list[Heading] = []
        for heading in self.headings:
            above = [*(other for other in above if other.level < heading.level), heading]
            self._paths.append(tuple(other.text for other in above))

    @property
    def paths(self) -> set[tuple[str, ...]]:
        """Every path that there is, that of what stands before all headings included."""
        return set(self._paths)

    def path(self, position: int) -> tuple[str, ...]:
        """The headings that a position stands under, highest first; a heading is under itself."""
        return self._paths[bisect_right(self.starts, position)]


def outline(text: str) -> Outline:
    """The outline of a markdown text."""
    return Outline(_headings(text))


def _headings(text: str) -> Iterator[Heading]:
    starts = [0, *(match.end() for match in _NEWLINE.finditer(text)), len(text)]
    tokens = _blocks().parse(text)
    for token, content in pairwise(tokens):
        if token.type != "heading_open" or token.level or token.map is None:
            continue
        first, last = (starts[line] for line in token.map)
        label = _without_markup(content.content)
        if label:
            end = first + len(text[first:last].rstrip())
            yield Heading(first, end, level=int(token.tag[1:]), text=label)


def _without_markup(content: str) -> str:
    [line] = _inlines().parseInline(content[:_MAX_LABEL])
    parts = (" " if child.type == "softbreak" else child.content for child in line.children or ())
    return "".join(parts).strip()


@cache
def _blocks() -> MarkdownIt:
    """Without the inline pass, which costs most and says nothing of positions."""
    return MarkdownIt("commonmark").disable("inline")


@cache
def _inlines() -> MarkdownIt:
    return MarkdownIt("commonmark").disable("html_inline")
