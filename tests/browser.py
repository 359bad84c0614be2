"""A headless Chromium for tests and pictures of pages for people."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = shutil.which("chromium")
_PATIENT_MS = 60_000
"""What is waited for comes at once, but for a machine that has much else to do."""
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def missing(*modules: str) -> str:
    """What a browser test lacks here, of Chromium and modules; empty where it lacks nothing."""
    lacks = [name for name in ("playwright", *modules) if find_spec(name) is None]
    if CHROMIUM is None:
        lacks.append("chromium")
    return ", ".join(lacks)


@contextmanager
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(_ARGUMENTS), timeout=2 * _PATIENT_MS
        )
        try:
            yield started
        finally:
            started.close()


@dataclass(frozen=True, slots=True)
class Visit:
    """A page that is open, what its browser asked for, and what it complained of."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def hosts(self) -> set[str]:
        return {urlsplit(url).netloc for url in self.requested if url.startswith("http")}


def visit(chromium: Browser | BrowserContext, url: str, width: int = 1200) -> Visit:
    """A page that nothing has been loaded into yet; those of a context share its cache."""
    page = chromium.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.set_default_timeout(_PATIENT_MS)
    made = Visit(page, url)
    page.on("request", lambda request: made.requested.append(request.url))
    page.on("pageerror", lambda error: made.complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            made.complaints.append(message.text) if message.type in {"error", "warning"} else None
        ),
    )
    return made
