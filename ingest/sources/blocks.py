"""Markdown, block by block, with white space as a browser shows it."""

from __future__ import annotations

import re

from ingest.sources.grid import Grid

_DEEPEST_LIST = 8
_MARKUP = re.compile(r"#{1,6}(?:\s|$)|```|~~~|<|=+\s*$|-+\s*$")
"""Text that would begin a heading, a fence or HTML if it stood at the beginning of a line."""

_GAP = re.compile(r"\n{3,}")
_TICKS = re.compile(r"`+")
_NO_HEADING = (7, "")


class Blocks:
    """Collects text into paragraphs, headings, lists, tables and fences.

    A block begins when it is named and ends with the next one; only lists and tables are closed.
    """

    def __init__(self) -> None:
        self._done: list[str] = []
        self._inline: list[str] = []
        self._level = 0
        self._raw = False
        self._marker = ""
        self._after_item = False
        self._lists: list[int | None] = []
        self._grids: list[Grid] = []
        self._heading = _NO_HEADING

    @property
    def first_heading(self) -> str:
        """The first of the highest level that there is."""
        return self._heading[1]

    def text(self, text: str) -> None:
        """Of the block that is open."""
        self._inline.append(text if self._raw else text.replace("\n", " "))

    def line(self) -> None:
        """A break within a block."""
        self._inline.append(" " if self._level or self._in_cell() else "\n")

    def paragraph(self) -> None:
        """Running text that begins or ends here; in a table's cell nothing but a space."""
        if self._in_cell():
            self._inline.append(" ")
        else:
            self._flush()

    def heading(self, level: int) -> None:
        self._begin()
        self._level = level

    def preformatted(self) -> None:
        self._begin()
        self._raw = True

    def end(self) -> None:
        """Of a heading, an item or a fence, also of an empty one."""
        if not self._in_cell():
            self._flush()
            self._level, self._raw, self._marker = 0, False, ""

    def open_list(self, *, ordered: bool) -> None:
        """Lists nest."""
        self._begin()
        self._lists.append(0 if ordered else None)

    def item(self) -> None:
        """Of the innermost list."""
        self._begin()
        depth = min(max(1, len(self._lists)), _DEEPEST_LIST)
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number = number + 1
        self._marker = "  " * (depth - 1) + ("- " if number is None else f"{number}. ")

    def close_list(self) -> None:
        self._begin()
        if self._lists:
            self._lists.pop()

    def open_table(self) -> None:
        """Tables nest; one that holds another is for layout."""
        self._begin()
        self._grids.append(Grid())

    def row(self) -> None:
        """Of the innermost table."""
        if self._grids:
            self._end_cell()
            self._grids[-1].end_row()

    def cell(self) -> None:
        """Of the row that is open."""
        self._end_cell()
        self._flush()
        if self._grids:
            self._grids[-1].in_cell = not self._grids[-1].layout

    def close_table(self) -> None:
        self._end_cell()
        self._flush()
        if self._grids:
            self._put_all(self._grids.pop().blocks())

    def finished(self) -> str:
        """All of it as markdown."""
        while self._grids:
            self.close_table()
        self.end()
        return "".join(self._done).strip()

    def _in_cell(self) -> bool:
        return bool(self._grids) and self._grids[-1].in_cell

    def _end_cell(self) -> None:
        if self._in_cell():
            self._grids[-1].end_cell(" ".join("".join(self._inline).split()))
            self._inline.clear()

    def _begin(self) -> None:
        """A block that cannot stand in a cell begins: then the table is for layout."""
        if self._in_cell():
            grid = self._grids[-1]
            grid.in_cell, grid.layout = False, True
            self._put_all(grid.blocks())
        self.end()

    def _flush(self) -> None:
        """The block that is open, if it says anything; an empty one stays open."""
        content = "".join(self._inline)
        self._inline.clear()
        if not content.strip():
            return
        if self._raw:
            self._put(_fenced(content))
        elif self._level:
            text = " ".join(content.split())
            self._heading = min(self._heading, (self._level, text), key=lambda found: found[0])
            self._put(f"{'#' * self._level} {text}")
        else:
            self._put_text(content)
        self._level, self._raw, self._marker = 0, False, ""

    def _put_text(self, content: str) -> None:
        lines = [_escaped(" ".join(line.split())) for line in content.split("\n")]
        text = _GAP.sub("\n\n", "\n".join(lines)).strip()
        if self._marker:
            indent = "\n" + " " * len(self._marker)
            self._put(self._marker + text.replace("\n", indent), item=True)
        else:
            self._put(text)

    def _put_all(self, blocks: list[str]) -> None:
        for block in blocks:
            self._put(block)

    def _put(self, block: str, *, item: bool = False) -> None:
        self._done += ["\n" if item and self._after_item else "\n\n", block]
        self._after_item = item


def _escaped(line: str) -> str:
    return f"\\{line}" if _MARKUP.match(line) else line


def _fenced(content: str) -> str:
    longest = max((len(ticks) for ticks in _TICKS.findall(content)), default=0)
    fence = "`" * max(3, longest + 1)
    body = content.strip("\n").rstrip()
    return f"{fence}\n{body}\n{fence}"
