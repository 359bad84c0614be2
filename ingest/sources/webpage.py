"""A web page as markdown, in one pass over its tags, however deep they nest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from lxml import etree

from ingest.sources.blocks import Blocks
from m3.errors import InvalidInput

_PIECE = 65_536
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LISTS = {"ul", "ol"}
_CELLS = {"td", "th"}
_BLOCKS = frozenset(
    """
    address article aside blockquote body caption center dd details dialog div dl dt
    fieldset figcaption figure footer form header hr html legend main p section summary
    """.split()  # noqa: SIM905
)
_DROPPED = frozenset(
    """
    audio button canvas datalist head iframe math nav noscript object script select
    style svg template textarea video
    """.split()  # noqa: SIM905
)
_META = {
    "description": "description",
    "author": "author",
    "keywords": "keywords",
    "date": "published",
    "article:published_time": "published",
    "og:description": "description",
    "article:author": "author",
}


@dataclass(frozen=True, slots=True)
class Page:
    """A page's text as markdown, and what its head says: title, language, author and the like."""

    text: str
    title: str
    heading: str
    metadata: Mapping[str, str]


def read_page(html: str) -> Page:
    """Scripts, styles, navigation and what is hidden are left out; links keep their text.

    Raises:
        InvalidInput: it has no text.
    """
    if not html.strip():
        raise InvalidInput("it has no text")
    reader = _Reader()
    parser = etree.HTMLParser(target=cast(Any, reader), encoding="utf-8", huge_tree=True)
    data = html.replace("\0", "").encode("utf-8", "replace")
    try:
        for start in range(0, len(data), _PIECE):
            parser.feed(data[start : start + _PIECE])
        page = cast(Page, parser.close())
    except etree.LxmlError as error:
        raise InvalidInput(f"it cannot be read as HTML: {error}") from error
    if not page.text:
        raise InvalidInput("it has no text once scripts, styles and navigation are left out")
    return page


class _Reader:
    """What lxml tells of a page, tag by tag."""

    def __init__(self) -> None:
        self._blocks = Blocks()
        self._title: list[str] = []
        self._metadata: dict[str, str] = {}
        self._depth = 0
        self._dropped_at: int | None = None
        self._in_title = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        self._head(tag, attributes)
        if self._dropped_at is not None:
            return
        if tag in _DROPPED or _hidden(attributes):
            self._dropped_at = self._depth
        elif tag in _HEADINGS:
            self._blocks.heading(_HEADINGS[tag])
        elif tag in _LISTS:
            self._blocks.open_list(ordered=tag == "ol")
        elif tag == "li":
            self._blocks.item()
        elif tag == "pre":
            self._blocks.preformatted()
        elif tag == "table":
            self._blocks.open_table()
        elif tag == "tr":
            self._blocks.row()
        elif tag in _CELLS:
            self._blocks.cell()
        elif tag == "br":
            self._blocks.line()
        elif tag in _BLOCKS:
            self._blocks.paragraph()
        elif tag == "img" and (alternative := attributes.get("alt")):
            self._blocks.text(f" {alternative} ")

    def end(self, tag: str) -> None:
        self._depth -= 1
        if tag == "title":
            self._in_title = False
        if self._dropped_at is not None:
            if self._depth < self._dropped_at:
                self._dropped_at = None
        elif tag in _LISTS:
            self._blocks.close_list()
        elif tag == "table":
            self._blocks.close_table()
        elif tag in _HEADINGS or tag in {"li", "pre"}:
            self._blocks.end()
        elif tag in _BLOCKS:
            self._blocks.paragraph()

    def data(self, text: str) -> None:
        if self._in_title:
            self._title.append(text)
        elif self._dropped_at is None:
            self._blocks.text(text)

    def comment(self, text: str) -> None:
        """Comments are for authors, not for readers."""

    def close(self) -> Page:
        text = self._blocks.finished()
        title = " ".join("".join(self._title).split())
        return Page(text, title, self._blocks.first_heading, self._metadata)

    def _head(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "title" and not self._title:
            self._in_title = True
        elif tag == "html" and (language := attributes.get("lang", "").strip()):
            self._metadata["lang"] = language
        elif tag == "meta":
            name = attributes.get("name") or attributes.get("property") or ""
            content = attributes.get("content", "").strip()
            if content and (ours := _META.get(name.lower())):
                self._metadata.setdefault(ours, content)


def _hidden(attributes: Mapping[str, str]) -> bool:
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or attributes.get("role") == "navigation"
    )
