"""The search page in a headless browser: filters, words, and an address that holds all of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.search.little import LAME
from tests.search.reader import BOOKS, QUERY, Reader

EN = {"field": "lang", "op": "eq", "value": "en"}
LATE = {"field": "year", "op": "gte", "value": 10}


def add(reader: Reader, button: str = "Add condition", at: int = 0) -> None:
    reader.page.locator("#filter").get_by_role("button", name=button).nth(at).click()


def fill(reader: Reader, number: int, field: str, comparison: str, value: str) -> None:
    """A condition, by its number."""
    line = reader.page.locator("#filter .condition").nth(number)
    line.get_by_label("Field").select_option(field)
    line.get_by_label("Comparison").select_option(comparison)
    entry = line.get_by_label("Value")
    if entry.evaluate("entry => entry.localName") == "select":
        entry.select_option(value)
    else:
        entry.fill(value)


@pytest.mark.parametrize(
    ("field", "comparison", "value", "expected"),
    [
        ("lang", "is", "de", {"op": "eq", "value": "de"}),
        ("lang", "is one of", "de, fr", {"op": "in", "value": ["de", "fr"]}),
        ("year", "≥", "2019", {"op": "gte", "value": 2019}),
        ("price", "<", "12.75", {"op": "lt", "value": 12.75}),
        ("free", "is not", "yes", {"op": "ne", "value": True}),
        ("tags", "contains", "water", {"op": "contains", "value": "water"}),
        ("price", "exists", "no", {"op": "exists", "value": False}),
    ],
)
def test_a_condition_is_typed_as_its_field_is(
    reader: Reader, field: str, comparison: str, value: str, expected: dict[str, Any]
) -> None:
    reader.look()
    add(reader)
    fill(reader, 0, field, comparison, value)
    filter_ = {"field": field, **expected}
    reader.filter_becomes(filter_)
    hits = reader.answer(filter=filter_)["hits"]
    assert reader.ids() == [hit["document_id"] for hit in hits]


def test_conditions_are_joined_grouped_and_denied(reader: Reader) -> None:
    reader.look()
    add(reader)
    fill(reader, 0, "lang", "is", "en")
    reader.filter_becomes(EN)
    add(reader)
    fill(reader, 1, "year", "≥", "10")
    reader.filter_becomes({"and": [EN, LATE]})
    reader.page.locator("#filter").get_by_label("Join").select_option("any of")
    reader.filter_becomes({"or": [EN, LATE]})
    reader.page.get_by_role("button", name="not", exact=True).nth(1).click()
    reader.filter_becomes({"or": [EN, {"not": LATE}]})
    add(reader, "Add group")
    fill(reader, 2, "free", "exists", "no")
    paid = {"field": "free", "op": "exists", "value": False}
    reader.filter_becomes({"or": [EN, {"not": LATE}, paid]})
    # What is not a value yet does not filter yet, and shows that it is none.
    value = reader.page.locator("#filter .condition").nth(0).get_by_label("Value")
    value.fill("")
    reader.filter_becomes({"or": [{"not": LATE}, paid]})
    assert value.get_attribute("aria-invalid") == "true"
    for _ in range(2):
        reader.page.get_by_role("button", name="Remove").first.click()
    reader.filter_becomes(paid)


NESTED = {
    "and": [
        {"not": {"or": [EN, {"not": LATE}]}},
        {"field": "tags", "op": "contains", "value": "water"},
        {"field": "lang", "op": "in", "value": ["de", "en"]},
    ]
}


def test_the_address_holds_all_of_a_search(reader: Reader) -> None:
    fields = {
        "method": "dense+sparse",
        "weights": "0.5,0.25,0",
        "top_k": 5,
        "candidates": 200,
        "group_by": "document",
        "filter": json.dumps(NESTED),
        "must": ["fisch", "der karpfen"],
        "must_not": "heron",
    }
    with reader.page.expect_response("**/v1/search") as answer:
        reader.look(**fields)
    assert json.loads(answer.value.request.post_data or "") == {
        "query": QUERY,
        "collection": BOOKS,
        "explain": True,
        **fields,
        "weights": {"dense": 0.5, "sparse": 0.25, "colbert": 0},
        "filter": NESTED,
        "must_not": ["heron"],
    }
    assert reader.ids() == ["karpfen"]
    # The form has it too: what is searched next differs by what is changed alone.
    body = reader.asked(lambda: reader.page.get_by_label("one for each document").uncheck())
    assert {**body, "group_by": "document"} == json.loads(answer.value.request.post_data or "")


def test_what_cannot_be_in_an_address_is_left_out(reader: Reader) -> None:
    reader.look(method="bm25", weights="1,x,1", top_k="many", filter="{", page="", offset=-3)
    assert len(reader.hits()) == 10
    wrong = {"field": "none", "op": "eq", "value": 1}
    reader.open(filter=json.dumps(wrong))
    assert "'none' is not declared" in reader.told()


def test_back_and_forward_go_through_searches(reader: Reader) -> None:
    reader.look(query="herons wait")
    query = reader.page.get_by_label("Query")
    query.fill("karpfen")
    reader.asked(lambda: query.press("Enter"))
    reader.asked(reader.page.get_by_role("radio", name="sparse", exact=True).check)
    assert reader.page.title().startswith("karpfen")
    reader.asked(reader.page.go_back)
    assert reader.page.get_by_role("radio", name="fusion").is_checked()
    reader.asked(reader.page.go_back)
    assert (query.input_value(), reader.ids()[0]) == ("herons wait", "herons")
    reader.asked(reader.page.go_forward)
    assert (query.input_value(), reader.ids()[0]) == ("karpfen", "karpfen")


def test_words_must_or_must_not_be_there(reader: Reader) -> None:
    reader.look()
    body = reader.asked(lambda: reader.page.get_by_label("must be there").fill("fisch , karpfen,"))
    assert body["must"] == ["fisch", "karpfen"]
    assert reader.ids() == ["karpfen"]
    reader.asked(lambda: reader.page.get_by_label("must be there").fill(""))
    body = reader.asked(lambda: reader.page.get_by_label("must not be there").fill("water"))
    assert body["must_not"] == ["water"]
    assert set(reader.ids()).isdisjoint({"note-00", "note-10"})
    reader.asked(lambda: reader.page.get_by_label("must be there").fill("nowhere"))
    assert reader.page.get_by_text("No passage fits the filter and the words").is_visible()


def test_another_collection_has_other_fields_and_an_empty_filter(reader: Reader) -> None:
    reader.look(filter=json.dumps(EN))
    collection = reader.page.get_by_label("Collection")
    assert collection.locator("option").all_inner_texts() == [BOOKS, LAME]
    body = reader.asked(lambda: collection.select_option(LAME))
    assert body["collection"] == LAME
    assert "filter" not in body
