"""The search page in a headless browser: what it shows is what the API answers, and why."""

from __future__ import annotations

import pytest

from scoring.fusion import METHOD_WEIGHTS, PRESETS, Method
from tests.search.little import LAME, TUNED
from tests.search.reader import LIBRARY, Reader, scores_of, width

CALLED = {"dense": "dense", "sparse": "sparse", "colbert": "ColBERT"}


def shown(number: float) -> str:
    return f"{number:.3f}"


def test_hits_are_the_apis(reader: Reader) -> None:
    hits, answer = reader.look(), reader.answer()
    assert len(hits) == len(answer["hits"]) == 10
    for number, (hit, expected) in enumerate(zip(hits, answer["hits"], strict=True), 1):
        title = expected["title"] or expected["document_id"]
        assert hit.locator("h3").inner_text().split() == [str(number), *title.split()]
        assert hit.locator(".text").text_content() == expected["text"]
        assert hit.locator(".place code").inner_text() == expected["document_id"]
        assert scores_of(hit) == {
            "score": shown(expected["score"]),
            **{CALLED[name]: shown(score) for name, score in expected["scores"].items()},
        }
        for name, score in expected["scores"].items():
            assert width(hit.locator(f":scope .{name} > .bar > span")) == pytest.approx(score)
        parts = hit.locator(".fused > .bar > span").all()
        assert sum(map(width, parts)) == pytest.approx(expected["score"])
    phases = reader.page.locator(".timings dt").all_inner_texts()
    assert phases == ["embed", "retrieve", "rerank", "total"]
    assert "28 documents, 30 passages" in reader.page.locator("#about").inner_text()
    assert "Hits 1 to 10" in reader.page.locator("#told").inner_text()


def test_metadata_is_shown(reader: Reader) -> None:
    heron = reader.look(query="herons wait")[0]
    said = heron.locator(".metadata > div").all_inner_texts()
    assert [" ".join(each.split()) for each in said] == [
        "lang en",
        "year 2019",
        "price 12.5",
        "free false",
        'tags ["birds","water"]',
    ]


def test_terms_are_marked_where_they_stand_whatever_stands_before_them(reader: Reader) -> None:
    pike = reader.look(query="pike waits")[0]
    assert pike.locator("mark").all_inner_texts() == ["pike", "waits"]


def test_each_method_is_one_press_away(reader: Reader) -> None:
    reader.look()
    for method in Method:
        choice = reader.page.get_by_role("radio", name=named(method), exact=True)
        body = reader.asked(choice.check)
        assert body["method"] == method
        assert "weights" not in body
        best = reader.answer(method=method)["hits"][0]
        assert scores_of(reader.hits()[0])["score"] == shown(best["score"])
        assert weights_shown(reader) == list(METHOD_WEIGHTS[method].as_tuple())


def named(method: str) -> str:
    return CALLED.get(method, method.replace("+", " + "))


def weights_shown(reader: Reader) -> list[float]:
    return [float(text) for text in reader.page.locator("#weights output").all_inner_texts()]


def test_presets_move_the_sliders(reader: Reader) -> None:
    reader.look()
    preset = reader.page.get_by_role("combobox", name="Weights")
    for name, weights in PRESETS.items():
        body = reader.asked(lambda name=name: preset.select_option(name))
        assert body["weights"] == name
        assert weights_shown(reader) == list(weights.as_tuple())
    body = reader.asked(lambda: preset.select_option("ranks (RRF)"))
    assert body["rank"] == "rrf"
    assert "weights" not in body
    assert reader.page.get_by_role("slider", name="dense").is_disabled()
    best = reader.answer(rank="rrf")["hits"][0]
    assert scores_of(reader.hits()[0])["score"] == shown(best["score"])


def test_a_collection_that_was_tuned_has_weights_of_its_own(reader: Reader) -> None:
    reader.look(collection=LAME)
    assert weights_shown(reader) == list(TUNED.as_tuple())
    reader.look()
    assert weights_shown(reader) == [1, 0.3, 1]


def test_all_that_a_page_ranks_can_be_asked_for_again(reader: Reader) -> None:
    """It shows more hits than its collection's own depth, and no page comes after it."""
    hits = reader.look(collection=LAME, top_k=6)
    assert len(hits) == 6
    for hit in (hits[1], hits[5]):
        hit.get_by_role("button", name="Neighbours").click()
        hit.locator(".panel.neighbours").wait_for()


def test_a_slider_that_is_dragged_searches_once_it_rests(reader: Reader) -> None:
    reader.look()
    length = reader.page.evaluate("history.length")
    slider = reader.page.get_by_role("slider", name="ColBERT")
    drag = """slider => {
        for (const weight of [0.95, 0.8, 0.7, 0.6]) {
            slider.value = weight;
            slider.dispatchEvent(new InputEvent("input", { bubbles: true }));
        }
    }"""
    before = len(reader.visit.requested)
    body = reader.asked(lambda: slider.evaluate(drag))
    assert body["weights"] == {
        "dense": 1,
        "sparse": 0.3,
        "colbert": 0.6,
    }
    assert len([url for url in reader.visit.requested[before:] if "/v1/search" in url]) == 1
    assert reader.page.get_by_role("combobox", name="Weights").input_value() == "own"
    assert weights_shown(reader) == [1, 0.3, 0.6]
    best = reader.answer(weights={"dense": 1, "sparse": 0.3, "colbert": 0.6})["hits"][0]
    assert scores_of(reader.hits()[0])["score"] == shown(best["score"])
    # A drag is no step to go back over.
    assert reader.page.evaluate("history.length") == length


def test_why_tells_shares_terms_and_tokens(reader: Reader) -> None:
    hit = reader.look()[0]
    expected = reader.answer()["hits"][0]
    explained = expected["explain"]
    hit.get_by_role("button", name="Why").click()
    hit.locator(".why").wait_for()
    rows = [row.inner_text().split() for row in hit.locator(".sum tbody tr").all()]
    assert rows == [
        [CALLED[name], shown(weight), shown(expected["scores"][name]), shown(share)]
        for (name, weight), share in zip(
            explained["weights"].items(), explained["contributions"].values(), strict=True
        )
    ]
    assert hit.locator(".sum tfoot td").inner_text() == shown(expected["score"])
    terms = [row.inner_text().split() for row in hit.locator(".terms tbody tr").all()]
    assert terms == [
        [term["term"], *(shown(term[n]) for n in ("query_weight", "passage_weight", "product"))]
        for term in explained["terms"]
    ]
    tokens = [button.inner_text().split() for button in hit.locator(".tokens button").all()]
    assert tokens == [
        [each["query_token"], each["token"], f"{each['score']:.2f}"]
        for each in explained["alignment"]
    ]


def test_a_query_token_lights_the_token_that_it_meets(reader: Reader) -> None:
    hit = reader.look(query="pike weeds")[0]
    assert hit.locator(".met").count() == 0
    hit.get_by_role("button", name="Why").click()
    lit = hit.locator(".text .lit")
    for word in ("pike", "weeds"):
        hit.locator(".tokens button", has_text=word).hover()
        assert lit.all_inner_texts() == [word]
    hit.locator(".tokens button", has_text="pike").focus()
    reader.page.mouse.move(0, 0)
    reader.page.keyboard.press("Tab")
    assert lit.all_inner_texts() == ["weeds"]
    hit.get_by_role("button", name="Why").click()
    assert hit.locator(".met").count() == hit.locator(".why").count() == 0


def test_why_stays_open_while_weights_change(reader: Reader) -> None:
    hit = reader.look()[0]
    hit.get_by_role("button", name="Why").click()
    preset = reader.page.get_by_role("combobox", name="Weights")
    reader.asked(lambda: preset.select_option("mldr"))
    weights = reader.page.locator(".why .sum tbody td:nth-child(2)").all_inner_texts()
    assert weights == ["0.150", "0.500", "0.350"]


def test_neighbours_are_those_of_the_document(reader: Reader) -> None:
    hit = reader.look(query="they nest in trees")[0]
    body = reader.asked(hit.get_by_role("button", name="Neighbours").click)
    assert (body["neighbours"], body["top_k"], body["offset"]) == (2, 1, 0)
    first, second, third = LIBRARY[0][1]
    assert hit.locator(".said .text").inner_text() == second
    panel = hit.locator(".panel.neighbours")
    assert panel.locator(".text").all_inner_texts() == [first, third]
    assert panel.locator(":scope > *").nth(1).inner_text() == "this passage"
    alone = reader.look(query="pike")[0]
    alone.get_by_role("button", name="Neighbours").click()
    alone.get_by_text("It is all of its document").wait_for()


def test_similar_documents_are_searched_for_and_left(reader: Reader) -> None:
    hit = reader.look(query="herons wait")[0]
    body = reader.asked(hit.get_by_role("button", name="Similar documents").click, "similar")
    assert (body["document_id"], body["source"]) == ("herons", "default")
    assert "herons" not in reader.ids()
    assert "Similar to herons" in reader.page.locator("#similar").inner_text()
    similar = reader.hits()[1]
    similar.get_by_role("button", name="Why").click()
    similar.locator(".tokens button").first.wait_for()
    assert similar.locator(".tokens button").count() > 20
    reader.asked(reader.page.get_by_role("button", name="Back to the query").click)
    assert reader.ids()[0] == "herons"
    assert reader.page.locator("#similar").is_hidden()


def test_documents_are_hits_with_their_other_passages(reader: Reader) -> None:
    reader.look(query="herons heron trees")
    assert reader.ids().count("herons") > 1
    body = reader.asked(lambda: reader.page.get_by_label("one for each document").check())
    assert body["group_by"] == "document"
    assert reader.ids().count("herons") == 1
    heron = reader.hits()[0]
    heron.get_by_text("2 more of this document").click()
    chunks = reader.answer(query="herons heron trees", group_by="document")["hits"][0]["chunks"]
    assert [each.split() for each in heron.locator(".others li").all_inner_texts()] == [
        ["passage", str(chunk["position"] + 1), shown(chunk["score"])] for chunk in chunks
    ]


def test_pages_show_the_whole_in_order_and_go_back(reader: Reader) -> None:
    reader.look()
    pages = [reader.ids()]
    for _ in range(2):
        body = reader.asked(reader.page.get_by_role("button", name="Next page").click)
        assert body["page"]
        pages.append(reader.ids())
    every = [hit["document_id"] for hit in reader.answer(top_k=100)["hits"]]
    assert [id_ for page in pages for id_ in page] == every
    assert "Hits 21 to 30" in reader.page.locator("#summary").inner_text()
    assert reader.page.get_by_role("button", name="Next page").is_disabled()
    assert reader.page.locator(".hit .rank").first.inner_text() == "21"
    reader.asked(reader.page.get_by_role("button", name="Previous page").click)
    assert reader.ids() == pages[1]
    body = reader.asked(lambda: reader.page.get_by_label("a page").select_option("50"))
    assert "page" not in body
    assert reader.ids() == every


def test_a_search_that_went_without_a_part_says_so(reader: Reader) -> None:
    hits = reader.look(collection=LAME)
    notice = reader.page.locator(".notice")
    assert notice.inner_text() == (
        "This search went without sparse. Its scores are missing; what is left is weighted anew."
    )
    assert scores_of(hits[0])["sparse"] == "–"
    assert reader.page.locator("#stand-in").is_hidden()
    reader.look()
    assert notice.count() == 0
    assert reader.page.get_by_text("English-only stand-in").is_visible()


def test_long_lines_that_were_broken_are_whole(reader: Reader) -> None:
    broken = "x" * 70 + "\nand on\n- one\n\nnext"
    reader.look()
    made = reader.page.evaluate(
        """async (text) => {
            const script = document.querySelector("script[type=module]").src;
            const { unbroken } = await import(script.replace("main.js", "spans.js"));
            return unbroken(text);
        }""",
        broken,
    )
    assert made == "x" * 70 + " and on\n- one\n\nnext"
