"""The HTTP face over a library in memory: the contract's JSON, and what bad input gets."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from m3.types import Document
from scoring.fusion import Method
from tests.search.library import COLLECTION

pytestmark = pytest.mark.anyio

DOCUMENTS = f"/v1/collections/{COLLECTION}/documents"


async def search(api: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    return await api.post("/v1/search", json={"query": "q", "collection": COLLECTION, **fields})


def nested(depth: int) -> dict[str, Any]:
    """A filter of that depth."""
    filter_: dict[str, Any] = {"field": "shelf", "op": "exists"}
    for _ in range(depth - 1):
        filter_ = {"not": filter_}
    return filter_


def one_of(values: int) -> dict[str, Any]:
    return {"field": "shelf", "op": "in", "value": list(range(values))}


def reason(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()["detail"]


async def test_a_search_answers_the_contracts_json(api):
    answer = await search(api, top_k=3)
    assert answer.status_code == 200
    body = answer.json()
    assert body.keys() == {"hits", "timings_ms", "degraded", "page"}
    assert body["degraded"] == []
    assert body["timings_ms"].keys() == {"embed", "retrieve", "rerank", "total"}
    assert len(body["hits"]) == 3
    for hit in body["hits"]:
        assert hit["scores"].keys() == {"dense", "sparse", "colbert"}
        assert "explain" not in hit
    scores = [hit["score"] for hit in body["hits"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("method", Method)
async def test_every_method_fuses_its_own_weights(api, method):
    hit = (await search(api, method=method)).json()["hits"][0]
    weights = {"dense": (1, 0, 0), "sparse": (0, 1, 0), "colbert": (0, 0, 1)}.get(
        method, (1, 0.3, 0) if method is Method.DENSE_SPARSE else (1, 0.3, 1)
    )
    fused = sum(w * s for w, s in zip(weights, hit["scores"].values(), strict=True))
    assert hit["score"] == pytest.approx(fused / sum(weights))


async def test_weights_are_an_object_or_a_preset(api):
    by_object = (await search(api, weights={"dense": 0.4, "sparse": 0.2, "colbert": 0.4})).json()
    by_name = (await search(api, weights="model-card")).json()
    assert by_object["hits"] == by_name["hits"]
    partial = (await search(api, weights={"sparse": 2})).json()["hits"][0]
    assert partial["score"] == pytest.approx(partial["scores"]["sparse"])


async def test_explain_names_shares_and_terms(api):
    hit = (await search(api, explain=True)).json()["hits"][0]
    assert sum(hit["explain"]["contributions"].values()) == pytest.approx(hit["score"])
    assert [term["term"] for term in hit["explain"]["terms"]] == ["word1", "word5"]


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"query": " "}, 400, "query is empty"),
        ({"query": None}, 400, "query: Input should be a valid string"),
        ({"collection": "elsewhere"}, 404, "no collection 'elsewhere'; there are: library"),
        ({"method": "bm25"}, 400, "method: Input should be 'dense', 'sparse'"),
        ({"weights": {"dense": -1, "sparse": 1}}, 400, "weights must not be negative"),
        ({"weights": {"dense": 0}}, 400, "at least one weight must be above zero"),
        ({"weights": {}}, 400, "at least one weight must be above zero"),
        ({"weights": {"bm25": 1}}, 400, "bm25: Extra inputs are not permitted"),
        ({"weights": {"dense": "1"}}, 400, "dense: Input should be a valid number"),
        ({"weights": [1, 1, 1]}, 400, "weights: Input should be an object of dense, sparse"),
        ({"weights": "best"}, 400, "unknown weights 'best'; presets: model-card"),
        ({"top_k": 0}, 400, "top_k must be from 1 to 1000, got 0"),
        ({"top_k": 20_000}, 400, "top_k must be from 1 to 1000, got 20000"),
        ({"top_k": "10"}, 400, "top_k: Input should be a valid integer"),
        ({"candidates": 5}, 400, "set candidates"),
        ({"offset": 95}, 400, "offset + top_k is 105"),
        ({"top_k": 2.5}, 400, "top_k: Input should be a valid integer"),
        ({"top_k": True}, 400, "top_k: Input should be a valid integer"),
        ({"offset": 995, "candidates": 1000}, 400, "offset + top_k is 1005: at most 1000 hits"),
        ({"query": "x" * 20_001}, 400, "query has 20001 characters: send at most 20000"),
        ({"query": 5}, 400, "query: Input should be a valid string"),
        ({"rank": "best"}, 400, "rank: Input should be 'weighted' or 'rrf'"),
        ({"rank": "rrf", "weights": "mldr"}, 400, "weights count where rank is weighted"),
        ({"min_score": "0.5"}, 400, "min_score: Input should be a valid number"),
        ({"group_by": "source"}, 400, "group_by: Input should be 'document'"),
        ({"neighbours": 6}, 400, "neighbours must be from 0 to 5, got 6"),
        ({"page": "AQ"}, 400, "page: send that of the answer before"),
        ({"filter": nested(9)}, 400, "filter: nested deeper than 8: "),
        ({"filter": one_of(201)}, 400, "filter: it has 201 values to compare with; send at most"),
        ({"filter": {"field": "shelf", "op": "eq", "value": "1"}}, 400, "is not of type int"),
        ({"filter": {"field": "shelf", "op": "eq"}}, 400, "is not of type int"),
        ({"filter": {"and": []}}, 400, "takes a list of at least one filter"),
        ({"topk": 5}, 400, "topk: Extra inputs are not permitted"),
        ({"filter": {"field": "x", "op": "eq", "value": 1}}, 400, "'x' is not declared"),
        ({"filter": {"field": "shelf", "op": "like", "value": 1}}, 400, "these do: "),
        ({"must": ["x" * 201]}, 400, "must[0]: String should have at most 200 characters"),
        ({"must": [""]}, 400, "must[0]: String should have at least 1 character"),
        ({"must": [" "]}, 400, "must[0] must have 1 to 200 characters and not be blank"),
        ({"must": "word"}, 400, "must: Input should be a valid list"),
        ({"must": ["x"] * 33, "must_not": ["y"] * 32}, 400, "have 65 words: send at most 64"),
        ({"must_not": [1]}, 400, "must_not[0]: Input should be a valid string"),
        ({"filter": "shelf == 1"}, 400, "filter: Input should be a valid dictionary"),
    ],
)
async def test_bad_input_is_refused_with_what_to_change(api, fields, status, words):
    answer = await search(api, **fields)
    assert words in reason(answer, status)
    assert answer.json()["code"] == {400: "invalid_input", 404: "not_found"}[status]


NOTHINGS = dict.fromkeys(map(str, range(30_000)), 0)
"""Thirty thousand faults, wherever they stand."""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/search", {"query": "q", "collection": "library", **NOTHINGS}),
        ("/v1/search", {"query": "q", "collection": "library", "weights": NOTHINGS}),
        ("/v1/search", {"query": "q", "collection": "library", "must": [0] * 30_000}),
        ("/v1/search/batch", {"searches": [0] * 30_000}),
        ("/v1/rerank", {"query": "q", "documents": [0] * 30_000}),
        ("/v1/collections", {"name": "new", "fields": NOTHINGS}),
        ("/v1/collections", {"name": "new", "chunking": NOTHINGS}),
    ],
)
async def test_of_many_faults_few_are_told(api, path, body):
    answer = await api.post(path, json=body)
    assert answer.status_code == 400
    assert len(answer.json().get("errors", [])) <= 2


async def test_of_many_faults_in_a_batch_few_are_told(api):
    answer = await api.post("/v1/search/batch", json={"searches": [NOTHINGS]})
    (problem,) = answer.json()["results"]
    assert "it may have 64" in problem["detail"]


async def test_the_limits_themselves_are_fine(api):
    for fields in (
        {"query": "q", "top_k": 10.0, "candidates": 1000, "offset": 990},
        {"filter": nested(8)},
        {"filter": one_of(200)},
    ):
        assert (await search(api, **fields)).status_code == 200


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/search", "POST"),
        ("/v1/search/batch", "POST"),
        ("/v1/similar", "POST"),
        ("/v1/rerank", "POST"),
        ("/v1/collections", "GET, POST"),
        (f"{DOCUMENTS}/d003", "GET, PUT, DELETE"),
    ],
)
async def test_other_methods_are_told_which_there_are(api, path, allowed):
    answer = await api.request("PATCH", path, json={})
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    if path != "/v1/rerank":
        assert f"PATCH is not for {path}" in reason(answer, 405)


async def test_nan_weights_are_refused(api):
    body = b'{"query": "q", "collection": "library", "weights": {"dense": NaN}}'
    answer = await api.post(
        "/v1/search", content=body, headers={"Content-Type": "application/json"}
    )
    assert "JSON" in reason(answer, 400)


async def test_a_node_that_is_down_is_named(api, known):
    assert (await api.get("/readyz")).status_code == 200
    known.down = True
    assert "no node answers" in reason(await search(api), 503)
    assert "no node answers" in reason(await api.get("/readyz"), 503)
    assert (await api.get("/livez")).status_code == 200


async def test_phases_are_counted(api):
    await search(api)
    metrics = (await api.get("/metrics")).text
    assert 'm3_searches_total{method="fusion"} 1.0' in metrics
    for phase in ("embed", "retrieve", "rerank", "total"):
        assert f'm3_search_seconds_count{{phase="{phase}"}} 1.0' in metrics


async def test_a_collection_lives_and_dies(api):
    made = await api.post(
        "/v1/collections", json={"name": "fresh", "fields": {"lang": "string"}, "codec": "bf16"}
    )
    assert made.status_code == 201, made.text
    view = made.json()["collection"]
    assert (view["name"], view["model"], view["codec"]) == ("fresh", "known", "bf16")
    assert view["fields"] == {"lang": "string"}
    assert view["chunking"] == {
        "max_tokens": 512,
        "overlap": 64,
        "whole": False,
        "context": "title",
    }
    assert (await api.get("/v1/collections/fresh")).json() == made.json()
    listed = (await api.get("/v1/collections")).json()["collections"]
    assert [collection["name"] for collection in listed] == ["fresh", COLLECTION]
    assert (await search(api, collection="fresh")).json()["hits"] == []
    assert (await api.delete("/v1/collections/fresh")).status_code == 204
    assert "no collection 'fresh'" in reason(await api.get("/v1/collections/fresh"), 404)
    assert "no collection 'fresh'" in reason(await search(api, collection="fresh"), 404)
    assert "no collection 'fresh'" in reason(await api.delete("/v1/collections/fresh"), 404)


async def test_chunks_overlap_as_far_as_they_can(api):
    small = {"name": "small", "chunking": {"max_tokens": 20}}
    made = (await api.post("/v1/collections", json=small)).json()["collection"]
    assert made["chunking"] == {"max_tokens": 20, "overlap": 10, "whole": False, "context": "title"}


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"name": COLLECTION}, 409, "exists already"),
        ({"name": "no/slash"}, 400, "letters, digits"),
        ({"name": "x", "fields": {"lang": "text"}}, 400, "fields.lang: Input should be 'string'"),
        ({"name": "x", "fields": {"2nd": "int"}}, 400, "not starting with a digit"),
        ({"name": "x", "codec": "int4"}, 400, "codec: Input should be 'int8', 'bf16' or 'fp32'"),
        ({"name": "x", "chunking": {"max_tokens": 513}}, 400, "reads at most 512"),
        ({"name": "x", "chunking": {"max_tokens": 64, "overlap": 33}}, 400, "at most half"),
    ],
)
async def test_collections_that_cannot_be_are_refused(api, fields, status, words):
    assert words in reason(await api.post("/v1/collections", json=fields), status)


async def test_a_document_is_shown_and_deleted(api):
    shown = (await api.get(f"{DOCUMENTS}/d003")).json()
    assert (shown["id"], shown["source"], shown["title"]) == ("d003", "default", "title of d003")
    assert [chunk["text"] for chunk in shown["chunks"]] == ["text of d003"]
    elsewhere = await api.get(f"{DOCUMENTS}/d003", params={"source": "wiki"})
    assert "no document 'd003' from source 'wiki'" in reason(elsewhere, 404)
    assert (await api.delete(f"{DOCUMENTS}/d003")).status_code == 204
    assert "no document 'd003'" in reason(await api.get(f"{DOCUMENTS}/d003"), 404)
    assert "no document 'd003'" in reason(await api.delete(f"{DOCUMENTS}/d003"), 404)


async def test_a_document_goes_to_the_writer_as_it_is(api, notes):
    body = {"text": "words", "title": "Title", "metadata": {"lang": "en", "n": [1, None]}}
    path = f"{DOCUMENTS}/folder/page%201.md"
    first = await api.put(path, params={"source": "wiki"}, json=body)
    assert first.status_code == 201
    assert first.json() == {"outcome": "created", "chunks": 1}
    assert (await api.put(path, params={"source": "wiki"}, json=body)).status_code == 200
    expected = Document(id="folder/page 1.md", source="wiki", **body)
    assert notes.documents == [(COLLECTION, expected)] * 2


@pytest.mark.parametrize("bytes_", ["%FF", "a%ED%A0%80"])
@pytest.mark.parametrize(("item", "place"), [("document_id", "{}"), ("source", "d003?source={}")])
async def test_what_names_a_document_is_utf8(api, notes, item, place, bytes_):
    for method in ("GET", "PUT", "DELETE"):
        path = f"{DOCUMENTS}/{place.format(bytes_)}"
        answer = await api.request(method, path, json={"text": "words"})
        assert f"{item}: not UTF-8" in reason(answer, 400)
    assert not notes.documents


async def test_a_document_without_text_is_refused(api, notes):
    assert "text: Field required" in reason(await api.put(f"{DOCUMENTS}/x", json={}), 400)
    assert not notes.documents


async def test_the_description_holds_the_contract(api):
    schema = (await api.get("/openapi.json")).json()
    assert {
        "/v1/search",
        "/v1/collections",
        "/v1/collections/{collection}",
        "/v1/collections/{collection}/documents/{document_id}",
    } <= schema["paths"].keys()
    search_body = schema["components"]["schemas"]["SearchBody"]
    assert search_body["additionalProperties"] is False
    assert search_body["properties"]["top_k"]["maximum"] == 1000
    hit = schema["components"]["schemas"]["Hit"]
    assert {"id", "document_id", "score", "scores"} <= hit["properties"].keys()
