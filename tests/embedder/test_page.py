"""The node's page: a real node, and a headless browser that clicks through it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from scoring.definition import colbert_score, dense_score, fused_score, sparse_score
from scoring.fusion import PRESETS
from serving.server import GRACE
from tests.browser import Visit, browser, missing, visit
from tests.processes import COMMANDS, server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(
    missing("gradio") != "", reason=f"not installed: {missing('gradio')}"
)

QUERY = "Who discovered radium?"
PASSAGES = [
    "Marie Curie discovered radium and polonium.",
    "Radium is a chemical element.",
    "The cat sat on the mat.",
]
HOSTILE = (
    "<script>window.hacked=1</script><img src=x onerror=window.hacked=2> "
    "${window.hacked=3} {{window.hacked=4}} <b>bold</b>"
)
LOAD_MS = 200_000
PATIENCE = 60
"""Seconds for what comes at once, but for a machine that has much else to do."""
TABS = ("Similarity", "Term weights", "ColBERT alignment", "Node")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def opened(page_url: str, chromium: Browser) -> Visit:
    return open_page(chromium, page_url)


@pytest.fixture
def page(opened: Visit) -> Page:
    """The open page, reloaded."""
    opened.page.reload()
    until_filled(opened.page)
    return opened.page


@pytest.fixture
def http(opened: Visit) -> Iterator[httpx.Client]:
    """A client of a node whose page has been loaded."""
    with httpx.Client(base_url=opened.url, trust_env=False, timeout=60) as client:
        yield client


def open_page(chromium: Browser, url: str) -> Visit:
    made = visit(chromium, url)
    made.page.goto(url)
    # The first visit has the page made, and looks again by itself until it is.
    until_filled(made.page)
    return made


def until_filled(page: Page) -> None:
    """The first tab is there, with the example in its fields."""
    page.get_by_role("button", name="Compare").wait_for(timeout=LOAD_MS)
    assert comes_true(page, page.get_by_label("Query", exact=True).first.input_value)


def comes_true(page: Page, true: Callable[[], object]) -> bool:
    """Whether it is so, sooner or later; the page goes on meanwhile."""
    ends = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > ends:
            return False
        page.wait_for_timeout(20)
    return True


def send(page: Page, tab: str, button: str, texts: Mapping[str, str]) -> None:
    """Fill a tab's fields, by their labels, and press its button.

    A tab's fields take their examples when the tab is first opened, and may do so over what is
    typed in that very instant: whoever looks at the page sees it and types again.
    """
    page.get_by_role("tab", name=tab).click()
    panel = page.get_by_role("tabpanel").filter(has=page.get_by_role("button", name=button))
    for _ in range(5):
        for label, text in texts.items():
            panel.get_by_label(label, exact=True).fill(text)
        with page.expect_response("**/run/predict") as answer:
            panel.get_by_role("button", name=button, exact=True).click()
        sent = answer.value.request.post_data_json["data"]
        if set(texts.values()) <= set(sent):
            return
    assert sent == list(texts.values())


def compare(page: Page, query: str, passages: list[str]) -> None:
    texts = {"Query": query, "Passages, one a line": "\n".join(passages)}
    send(page, "Similarity", "Compare", texts)


def weigh(page: Page, text: str) -> None:
    send(page, "Term weights", "Weigh terms", {"Text": text})
    page.locator(".m3-text").filter(has_text=text).wait_for()


def align(page: Page, query: str, passage: str) -> None:
    send(page, "ColBERT alignment", "Align", {"Query": query, "Passage": passage})


def table_of(page: Page) -> dict[str, list[float]]:
    """The scores shown, by passage; all of one moment."""
    page.locator("table.m3-scores").wait_for()
    lines: list[list[str]] = page.locator("table.m3-scores tbody tr").evaluate_all(
        "lines => lines.map(line => [...line.children].map(cell => cell.innerText))"
    )
    return {passage: [float(score) for score in scores] for _, passage, *scores in lines}


def expected_scores(http: httpx.Client) -> dict[str, tuple[float, float, float]]:
    """What the definition says of the node's own vectors."""
    query = encoded(http, [QUERY], "query")[0]
    passages = encoded(http, PASSAGES, "passage")
    return {
        text: (
            dense_score(query["dense"], item["dense"]),
            sparse_score(*query["sparse"], *item["sparse"]),
            colbert_score(query["colbert"], item["colbert"]),
        )
        for text, item in zip(PASSAGES, passages, strict=True)
    }


def encoded(http: httpx.Client, texts: list[str], kind: str) -> list[dict[str, Any]]:
    answer = http.post("/v1/encode", json={"input": texts, "kind": kind}).json()
    return [
        {
            "dense": np.array(item["dense"], np.float32),
            "sparse": (
                np.array(item["sparse"]["indices"], np.int32),
                np.array(item["sparse"]["values"], np.float32),
            ),
            "colbert": np.array(item["colbert"], np.float32),
        }
        for item in answer["data"]
    ]


def assert_table(page: Page, http: httpx.Client, weights: tuple[float, float, float]) -> None:
    expected = {
        text: [*three, fused_score(three, weights)] for text, three in expected_scores(http).items()
    }
    order = sorted(expected, key=lambda text: -expected[text][3])

    def shown() -> bool:
        table = table_of(page)
        return list(table) == order and all(
            table[text] == pytest.approx(expected[text], abs=2e-4) for text in order
        )

    if not comes_true(page, shown):
        assert table_of(page) == expected


def test_similarity_shows_the_scores_as_defined_for_any_weights(page, http):
    compare(page, QUERY, PASSAGES)
    assert_table(page, http, PRESETS["mkqa"].as_tuple())
    page.get_by_label("Weights").click()
    page.get_by_role("option", name="mldr").click()
    assert_table(page, http, PRESETS["mldr"].as_tuple())
    page.get_by_label("number input for dense").fill("1")
    page.get_by_label("number input for dense").press("Enter")
    assert_table(page, http, (1, 0.5, 0.35))
    assert comes_true(page, lambda: page.get_by_label("Weights").input_value() == "own")


def test_a_weight_that_was_emptied_is_told_and_the_next_one_counts(page, http):
    compare(page, QUERY, PASSAGES)
    number = page.get_by_label("number input for dense")
    number.fill("")
    page.get_by_text("a weight is a number from 0 to 1").wait_for()
    number.fill("0.5")
    number.press("Enter")
    assert_table(page, http, (0.5, 0.3, 1))


def test_an_example_fills_the_fields_and_runs(page):
    page.get_by_role("button", name="Example: exact words").click()
    page.locator("table.m3-scores").wait_for()
    assert next(iter(table_of(page))).startswith("E57")
    assert "E57" in page.get_by_label("Query").first.input_value()


def test_term_weights_are_drawn_on_the_text(page, http):
    text = "Paris: the capital of France (Île-de-France)."
    weigh(page, text)
    page.locator("table.m3-terms").first.wait_for()
    assert page.locator(".m3-text").inner_text() == text
    ids, weights = encoded(http, [text], "passage")[0]["sparse"]
    item = http.post("/v1/tokenize", json={"input": [text]}).json()["data"][0]
    names = dict(zip(item["ids"], item["pieces"], strict=True))
    by_piece = {names[i]: w for i, w in zip(ids.tolist(), weights.tolist(), strict=True)}
    marks = {
        mark.inner_text().lower(): float(mark.get_attribute("title") or "nan")
        for mark in page.locator(".m3-text mark").all()
    }
    for word in ("paris", "capital", "france"):
        assert marks[word] == pytest.approx(by_piece[word], abs=1e-4)
    first = page.locator("table.m3-terms tbody tr").first
    assert first.locator("th").inner_text() == max(by_piece, key=lambda name: by_piece[name])
    assert float(first.locator("td").inner_text()) == pytest.approx(weights.max(), abs=1e-4)


def test_the_alignment_marks_what_maxsim_sums(page, http):
    align(page, QUERY, PASSAGES[0])
    page.locator("table.m3-heat").wait_for()
    query = encoded(http, [QUERY], "query")[0]["colbert"]
    passage = encoded(http, [PASSAGES[0]], "passage")[0]["colbert"]
    similarity = query @ passage.T
    lines = page.locator("table.m3-heat tbody tr").all()
    assert len(lines) == len(query)
    for line, expected in zip(lines, similarity, strict=True):
        cells = line.locator("td").all()
        values = [float(cell.get_attribute("title") or "nan") for cell in cells]
        assert values == pytest.approx(expected.tolist(), abs=2e-4)
        marked = ["m3-best" in (cell.get_attribute("class") or "") for cell in cells]
        assert marked.index(True) == int(expected.argmax())
        assert sum(marked) == 1
    total = float(page.locator(".m3-total output").inner_text())
    assert total == pytest.approx(colbert_score(query, passage), abs=1e-4)


def test_the_node_tells_its_state(page, http):
    encoded(http, PASSAGES, "passage")
    page.get_by_role("tab", name="Node").click()
    status = page.locator("table.m3-status")
    status.wait_for()
    model = http.get("/v1/models").json()["data"][0]
    shown = status.inner_text()
    for value in (model["id"], model["fingerprint"], model["precision"], "0 of 262,144 tokens"):
        assert value in shown
    computed = status.locator("tr").filter(has_text="computed").locator("td").inner_text()
    assert int(computed.split()[0].replace(",", "")) > 0
    assert int(computed.split()[2].replace(",", "")) > 0
    for name in ("API", "OpenAPI", "metrics"):
        path = status.get_by_role("link", name=name, exact=True).get_attribute("href")
        assert http.get(path or "").status_code == 200


def test_every_tab_says_that_the_model_is_a_stand_in(page):
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        page.get_by_text("English-only stand-in").first.wait_for()
    # The last one asks the node: a page that is left before it is told might complain.
    page.locator("table.m3-status").wait_for()


def test_what_people_write_is_never_run(page):
    compare(page, HOSTILE, [HOSTILE, "plain"])
    assert " ".join(HOSTILE.split()) in table_of(page)
    weigh(page, HOSTILE)
    assert page.locator(".m3-text").inner_text() == HOSTILE
    align(page, HOSTILE, HOSTILE)
    page.locator("table.m3-heat, .m3-alert").first.wait_for()
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert page.locator(".m3-text :is(b, img, script), .m3-scores :is(b, img, script)").count() == 0


def test_too_much_is_told_and_then_the_table_is_gone(page):
    compare(page, QUERY, PASSAGES)
    page.locator("table.m3-scores").wait_for()
    compare(page, QUERY, ["a"] * 33)
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "33 passages" in alert.inner_text()
    page.locator("table.m3-scores").wait_for(state="detached")


def first_waits(held: list[Any]) -> Callable[[Any], None]:
    """A route's handler that holds up the first request, and puts it there."""

    def handle(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    return handle


def test_who_presses_again_is_answered_as_the_fields_are_then(page):
    held: list[Any] = []
    passages = page.get_by_label("Passages, one a line", exact=True)
    page.route("**/run/predict", first_waits(held))
    try:
        for text in ("asked first", "asked then"):
            passages.fill(text)
            page.get_by_role("button", name="Compare").click()
            assert comes_true(page, lambda: held)
        held[0].continue_()
        page.locator("table.m3-scores").filter(has_text="asked then").wait_for()
    finally:
        page.unroute("**/run/predict")


def test_the_keyboard_is_enough(page):
    page.get_by_label("Query").first.focus()
    page.keyboard.press("Enter")
    page.locator("table.m3-scores").wait_for()
    page.get_by_role("tab", name="Similarity").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Weigh terms").wait_for()
    assert comes_true(page, page.get_by_label("Text", exact=True).input_value)
    page.get_by_role("button", name="Weigh terms").focus()
    page.keyboard.press("Enter")
    page.locator("table.m3-terms").first.wait_for()


def test_a_browser_asks_nobody_else_and_has_nothing_to_complain_of(page, opened):
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
    page.wait_for_timeout(500)
    assert opened.hosts() == {urlsplit(opened.url).netloc}
    assert opened.complaints == []
    # Nothing stays open that a draining node would have to wait for.
    assert not [url for url in opened.requested if "heartbeat" in url or "queue" in url]


def test_a_page_that_lost_its_node_comes_back_by_itself(page_url, chromium):
    page = open_page(chromium, page_url).page
    page.evaluate("window.before = true")
    page.route("**/run/predict", lambda route: route.abort())
    page.get_by_role("button", name="Compare").click()
    page.wait_for_function("!window.before")
    until_filled(page)
    page.unroute("**/run/predict")
    page.get_by_role("button", name="Compare").click()
    page.locator("table.m3-scores").wait_for()


def test_it_shows_that_the_node_computes(page):
    held: list[Any] = []
    page.route("**/run/predict", first_waits(held))
    try:
        page.get_by_role("button", name="Compare").click()
        page.wait_for_function(
            "[...document.querySelectorAll('.block')].some(block => block.checkVisibility()"
            " && getComputedStyle(block, '::after').content.includes('The node computes'))"
        )
        assert comes_true(page, lambda: held)
        held[0].continue_()
        page.locator("table.m3-scores").wait_for()
    finally:
        page.unroute("**/run/predict")


def test_with_keys_the_page_asks_for_one_and_ends_at_once(chromium, stand_in, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(sha256(b"secret").hexdigest())
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    with server(arguments, {"M3_API_KEYS_FILE": str(keys)}) as (url, process):
        page = open_page(chromium, url).page
        page.get_by_role("tab", name="Node").click()
        page.get_by_role("alert").wait_for()
        assert "needs a key" in page.get_by_role("alert").inner_text()
        assert page.locator("table.m3-status").count() == 0
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("tab", name="Similarity").click()
        page.get_by_role("button", name="Compare").click()
        page.get_by_role("alert").filter(visible=True).wait_for()
        assert page.locator("table.m3-scores").count() == 0
        page.get_by_label("API key").fill("secret")
        page.get_by_role("button", name="Compare").click()
        page.locator("table.m3-scores").wait_for()
        with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE) as http:
            assert http.post("/v1/encode", json={"input": ["a"]}).status_code == 401
            assert http.get("/docs").status_code == 401
            assert http.get("/assets/%2e%2e/v1/models").status_code in {403, 404}
        process.signal(signal.SIGTERM)
        # Long before the server would give up those who stay.
        assert process.wait(GRACE * 2 / 3) == 0
