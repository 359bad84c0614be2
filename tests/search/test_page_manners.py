"""The search page in a headless browser: keyboard, colours, barriers, errors, nothing run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.browser import visit
from tests.search.little import HOSTILE, little_app
from tests.search.reader import BOOKS, LIBRARY, Reader
from tests.search.served import PATIENT, served
from tests.serving.keys import keys_file, line

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Route

SCHEMES = ("light", "dark")
PAPER = {"light": "rgb(255, 255, 255)", "dark": "rgb(19, 20, 23)"}


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.id || document.activeElement.localName")


def paper(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.documentElement).backgroundColor")


def test_the_keyboard_is_enough(reader: Reader) -> None:
    reader.look()
    page, press = reader.page, reader.page.keyboard.press
    assert focused(page) == "query"
    press("ArrowDown")
    assert focused(page) == "hit-0"
    for key, hit in (("j", 1), ("ArrowDown", 2), ("k", 1), ("ArrowUp", 0), ("k", 0)):
        press(key)
        assert focused(page) == f"hit-{hit}", key
    press("j")
    press("e")
    page.locator("#hit-1 .panel.why").wait_for()
    press("o")
    page.locator("#hit-1 .panel.neighbours").wait_for()
    press("Escape")
    assert page.locator(".panel").count() == 0
    press("?")
    page.get_by_role("dialog").wait_for()
    press("j")
    press("Escape")
    assert page.get_by_role("dialog").is_hidden()
    press("/")
    assert focused(page) == "query"
    page.keyboard.type("e o / j ?")
    assert page.get_by_label("Query").input_value() == "e o / j ?"
    press("Escape")
    assert (focused(page), page.get_by_label("Query").input_value()) == ("body", "e o / j ?")


def test_letters_can_be_left_to_other_programs(reader: Reader) -> None:
    reader.look()
    page = reader.page
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("letters do this").uncheck()
    page.get_by_role("button", name="Close").click()
    reader.look()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    assert focused(page) == "hit-0"
    page.keyboard.press("ArrowDown")
    assert focused(page) == "hit-1"
    page.evaluate("localStorage.clear()")


def test_colours_are_the_systems_until_others_are_chosen(reader: Reader) -> None:
    page = reader.page
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        reader.look()
        assert paper(page) == PAPER[scheme]
    switch = page.locator("#scheme")
    assert switch.inner_text() == "Auto"
    switch.click()
    assert (switch.inner_text(), paper(page)) == ("Light", PAPER["light"])
    reader.look()
    assert (switch.inner_text(), paper(page)) == ("Light", PAPER["light"])
    switch.click()
    page.emulate_media(color_scheme="light")
    assert (switch.inner_text(), paper(page)) == ("Dark", PAPER["dark"])
    switch.click()
    assert paper(page) == PAPER["light"]


@pytest.mark.parametrize(("scheme", "width"), [("light", 375), ("dark", 1440)])
def test_there_are_no_barriers(reader: Reader, scheme: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = reader.page
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    reader.look(method="dense", filter='{"field": "lang", "op": "eq", "value": "en"}')
    if width == 375:
        assert page.locator("#options").is_hidden()
        page.get_by_role("button", name="Options").click()
    page.locator("#filter").get_by_role("button", name="Add group").click()
    page.keyboard.press("Escape")
    page.locator("#hit-0").focus()
    page.keyboard.press("e")
    page.keyboard.press("o")
    page.locator(".panel.neighbours").wait_for()
    page.locator(".panel.why").wait_for()
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert (
        page.evaluate("getComputedStyle(document.querySelector('#hits')).transitionDuration")
        == "0s"
    )
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]})
    assert found.violations_count == 0, found.generate_report()
    page.get_by_role("button", name="Keys").click()
    found = Axe().run(page, context="dialog")
    assert found.violations_count == 0, found.generate_report()


def test_what_documents_say_is_never_run(reader: Reader) -> None:
    reader.look(query="script fish", top_k=50)
    page = reader.page
    hit = page.locator(".hit", has=page.locator("code", has_text="<i><script>"))
    assert hit.locator(".text").text_content() == f"A fish of {HOSTILE}"
    assert hit.locator("h3").inner_text().endswith(HOSTILE)
    said = hit.locator(".metadata dd").all_inner_texts()
    assert said == [HOSTILE, f'["{HOSTILE}"]']
    hit.get_by_role("button", name="Why").click()
    hit.locator(".why").wait_for()
    reader.asked(hit.get_by_role("button", name="Similar documents").click, "similar")
    assert HOSTILE in page.locator("#similar").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("main :is(script, img, b:not(.tokens b))").count() == 0


def test_the_browser_would_refuse_markup_all_the_same(reader: Reader) -> None:
    reader.look()
    refused = """html => {
        try { document.querySelector("#hits").innerHTML = html; return "taken" }
        catch (error) { return error.name }
    }"""
    # A page's script, as what is evaluated from here is not held by the policy.
    assert reader.page.evaluate(refused, HOSTILE) == "TypeError"
    assert any("TrustedHTML" in each for each in reader.visit.complaints)
    reader.visit.complaints.clear()


def test_an_answer_that_was_overtaken_is_dropped(reader: Reader) -> None:
    reader.look()
    held = hold(reader.page, "**/v1/search")
    query = reader.page.get_by_label("Query")
    query.fill("herons")
    with reader.page.expect_request("**/v1/search"):
        query.press("Enter")
    assert reader.page.locator("#results").get_attribute("aria-busy") == "true"
    query.fill("karpfen")
    reader.asked(lambda: query.press("Enter"))
    assert reader.ids()[0] == "karpfen"
    held[0].continue_()
    # An answer that is not dropped would be there after a while; one that is comes never.
    reader.page.wait_for_timeout(300)
    assert reader.ids()[0] == "karpfen"
    assert reader.page.locator("#results").get_attribute("aria-busy") == "false"


def hold(page: Page, calls: str) -> list[Route]:
    """The first of such calls of the API is not let through yet."""
    held: list[Route] = []

    def noted(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route(calls, noted)
    return held


def test_what_is_typed_before_the_collections_are_known_is_searched_for(reader: Reader) -> None:
    page = reader.page
    held = hold(page, "**/v1/collections")
    filter_ = {"field": "lang", "op": "eq", "value": "de"}
    with page.expect_request("**/v1/collections"):
        reader.open(query="", collection=BOOKS, filter=json.dumps(filter_))
    query = page.get_by_label("Query")
    query.fill("karpfen")
    query.press("Enter")
    query.fill("karpfen und hecht")
    body = reader.asked(held[0].continue_)
    assert (body["query"], body["collection"], body["filter"]) == ("karpfen", BOOKS, filter_)
    assert query.input_value() == "karpfen und hecht"
    assert reader.ids() == ["karpfen"]


def test_what_is_asked_while_a_collection_is_looked_at_stands(reader: Reader) -> None:
    page = reader.page
    held = hold(page, f"**/v1/collections/{BOOKS}")
    with page.expect_request(f"**/v1/collections/{BOOKS}"):
        reader.open()
    query = page.get_by_label("Query")
    query.fill("karpfen")
    reader.asked(lambda: query.press("Enter"))
    held[0].continue_()
    page.locator("#counts:not(:empty)").wait_for(state="attached")
    assert reader.ids()[0] == "karpfen"
    assert "query=karpfen" in page.url


def test_errors_say_what_to_change(reader: Reader) -> None:
    reader.open(collection="elsewhere")
    assert "no collection 'elsewhere'; there are: books, lame" in reader.told().lower()
    assert reader.page.get_by_role("button", name="Add condition").is_visible()
    reader.open(weights="0,0,0", query="a" * 20_001)
    assert "send at most 20000" in reader.told()
    reader.look()
    for name in ("dense", "sparse", "ColBERT"):
        reader.page.get_by_role("slider", name=name).fill("0")
    assert "at least one weight must be above zero" in reader.told().lower()
    assert reader.page.locator(".hit").count() == 0


def test_an_api_that_is_gone_is_told_and_asked_again(reader: Reader) -> None:
    reader.look()
    reader.page.route("**/v1/search", lambda route: route.abort())
    query = reader.page.get_by_label("Query")
    query.press("Enter")
    assert "does not answer: see that it runs" in reader.told()
    reader.page.unroute("**/v1/search")
    reader.asked(reader.page.get_by_role("button", name="Try again").click)
    assert reader.page.get_by_role("alert").count() == 0


def test_a_page_that_is_gone_leads_to_the_first(reader: Reader) -> None:
    problem = {"status": 410, "code": "page_expired", "detail": "the collection has changed"}
    reader.page.route("**/v1/search", lambda route: route.fulfill(status=410, json=problem))
    reader.open(page="AAAA", offset=10)
    assert reader.told() == "The collection has changed."
    reader.page.unroute("**/v1/search")
    body = reader.asked(reader.page.get_by_role("button", name="Search from the first page").click)
    assert "page" not in body


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[str]:
    """An API that asks for a key."""
    keys = keys_file(tmp_path / "keys", line("sesame", scopes=["read"]))
    with served(little_app({BOOKS: LIBRARY}, keys_file=keys)) as url:
        yield url


def test_a_key_is_asked_for_and_kept_by_the_tab_alone(loaded: BrowserContext, locked: str) -> None:
    key = {"Authorization": "Bearer sesame"}
    with httpx.Client(base_url=locked, headers=key, timeout=PATIENT) as api:
        reader = Reader(visit(loaded, locked), api)
        page = reader.page
        reader.open()
        secret = page.get_by_label("This API asks for a key")
        secret.wait_for()
        assert page.get_by_role("alert").count() == 0
        secret.fill("guess")
        secret.press("Enter")
        assert "known key" in reader.told()
        secret.fill("sesame")
        reader.asked(lambda: secret.press("Enter"))
        assert secret.is_hidden()
        assert page.evaluate("[localStorage.length, document.cookie, location.href]") == [
            0,
            "",
            page.url,
        ]
        assert "sesame" not in page.url
        reader.look(query="karpfen")
        other = loaded.new_page()
        other.goto(locked)
        other.get_by_label("This API asks for a key").wait_for()
        other.close()
        page.get_by_role("button", name="Forget key").click()
        secret.wait_for()
        page.close()


def test_a_key_that_may_not_read_can_be_forgotten(loaded: BrowserContext, tmp_path: Path) -> None:
    keys = keys_file(tmp_path / "keys", line("quill", scopes=["write"]))
    with served(little_app({BOOKS: LIBRARY}, keys_file=keys)) as url:
        page = visit(loaded, url).page
        page.goto(url)
        secret = page.get_by_label("This API asks for a key")
        secret.fill("quill")
        secret.press("Enter")
        page.get_by_role("alert").wait_for()
        page.get_by_role("button", name="Forget key").click()
        secret.wait_for()
        page.close()


BLOCKED = """
const refused = { get() { throw new DOMException("no", "SecurityError"); } };
for (const name of ["localStorage", "sessionStorage"]) Object.defineProperty(window, name, refused);
"""


def test_a_browser_that_keeps_nothing_is_enough(chromium: Browser, locked: str) -> None:
    seen = visit(chromium, locked)
    page = seen.page
    page.add_init_script(BLOCKED)
    page.goto(f"{locked}/?query=karpfen&collection={BOOKS}")
    secret = page.get_by_label("This API asks for a key")
    secret.fill("sesame")
    secret.press("Enter")
    page.locator("#hit-0").wait_for()
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("letters do this").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("j")
    assert focused(page) == "help"
    assert all("Failed to load resource" in each for each in seen.complaints)
    page.close()


def test_without_a_collection_it_says_how_to_make_one(chromium: Browser) -> None:
    with served(little_app({})) as url:
        seen = visit(chromium, url)
        seen.page.goto(url)
        seen.page.get_by_text("m3-ingest run PATH --collection NAME").wait_for()
        assert seen.complaints == []
        seen.page.close()
