"""A library to look at through the search page, and what a reader does there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from m3.types import Document
from tests.browser import Visit
from tests.search.little import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

BOOKS = "books"
QUERY = "fish in the water"

Shelf = Sequence[tuple[Document, Sequence[str]]]


def book(id_: str, title: str, *texts: str, **metadata: Any) -> tuple[Document, Sequence[str]]:
    return Document(id=id_, text=" ".join(texts), title=title, metadata=metadata), texts


LIBRARY: Shelf = [
    book(
        "herons",
        "Herons",
        "Herons stand in the shallow water and wait for a fish.",
        "They nest in tall trees near the river.",
        "A heron lives for fifteen years.",
        lang="en",
        year=2019,
        price=12.5,
        free=False,
        tags=["birds", "water"],
    ),
    book("pike", "", "🐟🐟 A pike is a fish; the 🐟 waits in weeds.", year=2001, free=True),
    book("karpfen", "Karpfen", "Der Karpfen ist ein Fisch.", lang="de", year=2019, tags=["water"]),
    book(
        f"<i>{HOSTILE}</i>", HOSTILE, f"A fish of {HOSTILE}", note=HOSTILE, **{HOSTILE: [HOSTILE]}
    ),
    *(
        book(f"note-{i:02}", f"Note {i}", f"A fish, and {i} more in the water.", lang="en", year=i)
        for i in range(24)
    ),
]


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who looks at the page, beside the API that it shows."""

    visit: Visit
    api: httpx.Client

    @property
    def page(self) -> Page:
        return self.visit.page

    def open(self, **fields: Any) -> None:
        """An address, which has the API's fields."""
        fields = {"query": QUERY, "collection": BOOKS, **fields}
        self.page.goto(f"{self.visit.url}/?{urlencode(fields, doseq=True)}")

    def look(self, **fields: Any) -> list[Locator]:
        """The hits at an address."""
        self.open(**fields)
        return self.hits()

    def told(self) -> str:
        """What an error says; the browser itself complains of the answer's status alone."""
        said = self.page.get_by_role("alert").locator("p").first.inner_text()
        assert all("Failed to load resource" in each for each in self.visit.complaints)
        self.visit.complaints.clear()
        return said

    def hits(self) -> list[Locator]:
        """Once no search is under way."""
        self.page.locator("#results[aria-busy=false] #told:not(:empty)").wait_for(state="attached")
        return self.page.locator(".hit").all()

    def filter_becomes(self, filter_: Any) -> None:
        """Wait until that is searched with, and for its hits."""

        def is_it(address: str) -> bool:
            given = parse_qs(urlsplit(address).query).get("filter", ["null"])
            return json.loads(given[0]) == filter_

        self.page.wait_for_url(is_it)
        self.hits()

    def ids(self) -> list[str]:
        return [hit.locator(".place code").first.inner_text() for hit in self.hits()]

    def asked(self, act: Any, path: str = "search") -> dict[str, Any]:
        """The body of the search that an act makes the page send; its hits are there."""
        with self.page.expect_response(f"**/v1/{path}") as answer:
            act()
        self.hits()
        return json.loads(answer.value.request.post_data or "")

    def answer(self, **fields: Any) -> dict[str, Any]:
        """The API's own, explained."""
        body = {"query": QUERY, "collection": BOOKS, "explain": True, **fields}
        answer = self.api.post("/v1/search", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


def scores_of(hit: Locator) -> dict[str, str]:
    """The numbers beside a hit's bars, by what they are called."""
    lines = hit.locator(".scores > div").all()
    return {line.locator("dt").inner_text(): line.locator("dd").last.inner_text() for line in lines}


def width(bar: Locator) -> float:
    """The share of its bar that a part fills."""
    return float(bar.evaluate("part => part.style.getPropertyValue('--v')"))
