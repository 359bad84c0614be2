"""Where a markdown text's headings are: by a parser, so that a `#` in a code fence is none."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from markdown_it import MarkdownIt

_NEWLINE = re.compile(r"\r\n?|\n")
"""What the parser counts as a line; `str.splitlines` knows more."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of the document itself, not one in a quotation or a list.

    Attributes:
        start, end: characters of the text; the line break after it is not part of it.
        level: 1 to 6.
        text: without markup.
    """

    start: int
    end: int
    level: int
    text: str


def headings(text: str) -> list[Heading]:
    """All headings, in order."""
    if "#" not in text and "=" not in text and "--" not in text and "\n-" not in text:
        return []
    return list(_parse(text))


def _parse(text: str) -> Iterator[Heading]:
    starts = [0, *(match.end() for match in _NEWLINE.finditer(text)), len(text)]
    tokens = _blocks().parse(text)
    for i, token in enumerate(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            first, last = token.map
            span = text[starts[first] : starts[last]].rstrip()
            yield Heading(
                start=starts[first],
                end=starts[first] + len(span),
                level=int(token.tag[1:]),
                text=_without_markup(tokens[i + 1].content),
            )


def path_at(outline: Sequence[Heading], position: int) -> tuple[str, ...]:
    """The texts of the headings that `position` stands under, the highest level first."""
    path: list[Heading] = []
    for heading in outline[: bisect_right(outline, position, key=lambda h: h.start)]:
        while path and path[-1].level >= heading.level:
            path.pop()
        path.append(heading)
    return tuple(heading.text for heading in path)


def _without_markup(content: str) -> str:
    [line] = _inlines().parseInline(content)
    return "".join(
        token.content for token in line.children or () if token.type in ("text", "code_inline")
    ).strip()


@cache
def _blocks() -> MarkdownIt:
    """Without the inline pass, which costs most and says nothing of positions."""
    return MarkdownIt("commonmark").disable("inline")


@cache
def _inlines() -> MarkdownIt:
    return MarkdownIt("commonmark")
