"""The pictures of `docs/search-page.md`: `python -m tests.search.screenshots` takes them anew.

The stand-in searches the project's own documentation.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode

from embedder.stand_in import build
from tests.browser import browser, missing, visit
from tests.processes import COMMANDS, running, server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DOCS = Path(__file__).parents[2] / "docs"
TOPICS = {
    "ingest": "ingest",
    "sources": "ingest",
    "search": "search",
    "engines": "embedder",
    "page": "embedder",
    "precision": "embedder",
    "throughput": "embedder",
}
"""By file; the others are about operations."""
QUERY = "what happens to a search when Milvus is down"
FILTER = {
    "or": [
        {"field": "topic", "op": "eq", "value": "search"},
        {"field": "words", "op": "gte", "value": 800},
    ]
}
Scheme = Literal["light", "dark"]


def main() -> int:
    if lacking := missing():
        print(f"not installed: {lacking}", file=sys.stderr)
        return 2
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder)) as url,
        browser() as chromium,
    ):
        for scheme in ("light", "dark"):
            dark = "-dark" if scheme == "dark" else ""
            take(chromium, f"{url}/?{asking()}", f"search-hits{dark}", scheme)
            take(
                chromium,
                f"{url}/?{asking(filter=json.dumps(FILTER))}",
                f"search-why{dark}",
                scheme,
                why=True,
            )
            take(chromium, f"{url}/?{asking()}", f"search-narrow{dark}", scheme, width=375)
    return 0


def asking(**fields: str) -> str:
    return urlencode({"query": QUERY, "collection": "documentation", **fields})


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The URL of a search API that has the documentation."""
    guides = folder / "guides"
    guides.mkdir()
    for path in DOCS.glob("*.md"):
        # The page shows a text as it is, marks and all.
        text = path.read_text("utf-8").replace("**", "").replace("`", "")
        topic = TOPICS.get(path.stem, "operations")
        about = f"---\ntopic: {topic}\nwords: {len(text.split())}\n---\n"
        (guides / path.name).write_text(about + text, "utf-8")
    node = ["serve", "--port", "0", "--model", build(folder / "stand-in")]
    with server([COMMANDS / "m3-embedder", *node]) as (node_url, _):
        settings = {"M3_HOME": str(folder / "home"), "M3_EMBEDDER_URL": node_url}
        ingest = ["run", guides, "--collection", "documentation", "--context", "headings"]
        ingest += ["--max-tokens", "160", "--overlap", "0"]
        ingest += ["--field", "topic:string", "--field", "words:int"]
        with running([COMMANDS / "m3-ingest", *ingest], settings) as run:
            assert run.wait(600) == 0, run.output()
        with server([COMMANDS / "m3-search", "serve", "--port", "0"], settings) as (url, _):
            yield url
        with running([COMMANDS / "m3-search", "engine", "stop"], settings) as stop:
            stop.wait()


def take(
    chromium: Browser,
    address: str,
    name: str,
    scheme: Scheme,
    *,
    width: int = 1440,
    why: bool = False,
) -> None:
    page = visit(chromium, address, width).page
    page.emulate_media(color_scheme=scheme)
    for _ in range(3):  # Warm: the picture tells times, too.
        page.goto(address)
        page.locator(".hit").first.wait_for()
    if why:
        page.locator("#hit-0").get_by_role("button", name="Why").click()
        page.locator("#hit-0 .tokens button", has_text="search").first.hover()
    save(page, DOCS / "images" / f"{name}.png")
    page.close()


def save(page: Page, path: Path) -> None:
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(500)
    page.screenshot(path=path)
    print(f"{path.name}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    sys.exit(main())
