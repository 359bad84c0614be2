"""The pictures of `docs/page.md`: `python -m tests.embedder.screenshots` takes them anew."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from embedder.stand_in import build
from tests.browser import browser, missing
from tests.processes import COMMANDS, server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SHOTS = (
    ("similarity", "Similarity", "Example: meaning", "table.m3-scores"),
    ("terms", "Term weights", "Weigh terms", ".m3-text"),
    ("alignment", "ColBERT alignment", "Align", "table.m3-heat"),
    ("status", "Node", "Refresh", "table.m3-status"),
)
"""Name, tab, button and what it makes appear."""
Scheme = Literal["light", "dark"]


def main() -> int:
    if lacking := missing("gradio"):
        print(f"not installed: {lacking}", file=sys.stderr)
        return 2
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["serve", "--port", "0", "--model", build(Path(folder) / "stand-in")]
        with server([COMMANDS / "m3-embedder", *arguments]) as (url, _), browser() as chromium:
            for scheme in ("light", "dark"):
                take(chromium, url, scheme)
    return 0


def take(chromium: Browser, url: str, scheme: Scheme) -> None:
    page = chromium.new_page(viewport={"width": 1080, "height": 560}, color_scheme=scheme)
    page.goto(url)
    page.get_by_role("button", name="Compare").wait_for(timeout=90_000)
    for name, tab, button, shown in SHOTS:
        page.get_by_role("tab", name=tab).click()
        page.get_by_role("button", name=button, exact=True).click()
        page.locator(shown).wait_for()
        save(page, IMAGES / f"node-{name}{'-dark' if scheme == 'dark' else ''}.png")
    page.close()


def save(page: Page, path: Path) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    page.screenshot(path=path, full_page=True)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    sys.exit(main())
