"""Many searches in one request, similar documents and reranking, over HTTP."""

from __future__ import annotations

import asyncio

import httpx
import orjson
import pytest

from embedder.client import EmbedderClient
from m3.errors import InvalidInput
from search.service import SearchService
from tests.search.library import COLLECTION, REPRESENTATIONS
from tests.search.served import PATIENT

pytestmark = pytest.mark.anyio

SEARCH = {"query": "q", "collection": COLLECTION, "top_k": 3}


async def hits(api, path, body):
    answer = await api.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["hits"]


async def test_each_search_has_its_answer_or_its_problem_in_order(api):
    searches = [
        SEARCH,
        {**SEARCH, "top_k": 0},
        {**SEARCH, "method": "sparse"},
        {**SEARCH, "collection": "elsewhere"},
        {**SEARCH, "weights": {"bm25": 1}},
        {"collection": COLLECTION},
        SEARCH,
    ]
    answer = await api.post("/v1/search/batch", json={"searches": searches})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert results[0]["hits"] == results[6]["hits"] == await hits(api, "/v1/search", SEARCH)
    assert results[2]["hits"] == await hits(api, "/v1/search", searches[2])
    told = {i: (results[i]["status"], results[i]["detail"]) for i in (1, 3, 4, 5)}
    assert told[1] == (400, "top_k must be from 1 to 1000, got 0")
    assert told[3] == (404, f"no collection 'elsewhere'; there are: {COLLECTION}")
    assert told[4] == (400, "weights.object.bm25: Extra inputs are not permitted")
    assert told[5] == (400, "query: Field required")
    assert results[4]["errors"] == [
        {"item": "weights.object.bm25", "reason": "Extra inputs are not permitted"}
    ]
    assert {results[i]["request_id"] for i in told} == {answer.headers["x-request-id"]}
    metrics = (await api.get("/metrics")).text
    assert 'm3_searches_total{method="fusion"} 3.0' in metrics


async def test_a_bug_in_one_search_is_told_for_that_one(api, monkeypatch):
    really = SearchService.search

    async def search(self, request):
        if request.top_k == 7:
            raise ZeroDivisionError
        return await really(self, request)

    monkeypatch.setattr(SearchService, "search", search)
    searches = [SEARCH, {**SEARCH, "top_k": 7}, SEARCH]
    answer = await api.post("/v1/search/batch", json={"searches": searches})
    results = answer.json()["results"]
    assert [result.get("status") for result in results] == [None, 500, None]
    assert "this is a bug" in results[1]["detail"]


async def test_searches_go_side_by_side_with_a_bound(api, monkeypatch):
    under_way = most = 0
    really, four = SearchService.search, asyncio.Barrier(4)

    async def search(self, request):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.wait_for(four.wait(), 60)
        under_way -= 1
        return await really(self, request)

    monkeypatch.setattr(SearchService, "search", search)
    answer = await api.post("/v1/search/batch", json={"searches": [SEARCH] * 32})
    assert len(answer.json()["results"]) == 32
    assert most == 4


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"searches": []}, "searches: List should have at least 1 item"),
        ({"searches": [SEARCH] * 33}, "searches: List should have at most 32 items"),
        ({"searches": [SEARCH, 5]}, "searches[1]: Input should be a valid dictionary"),
        ({"queries": [SEARCH]}, "searches: Field required"),
        ([SEARCH], "the body must be an object"),
    ],
)
async def test_batches_that_cannot_be_are_refused(api, body, words):
    answer = await api.post("/v1/search/batch", json=body)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


async def test_similar_documents_are_found_without_their_own(api):
    body = {"collection": COLLECTION, "document_id": "d003", "top_k": 29}
    found = await hits(api, "/v1/similar", body)
    assert len({hit["document_id"] for hit in found} - {"d003"}) == 29
    some = await hits(api, "/v1/similar", {**body, "top_k": 9, "must": ["d00"], "must_not": ["x"]})
    assert some == []


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"document_id": "never"}, 404, "no document 'never' from source 'default'"),
        ({"source": "wiki"}, 404, "no document 'd003' from source 'wiki'"),
        ({"document_id": None}, 400, "document_id: Input should be a valid string"),
        ({"query": "q"}, 400, "query: Extra inputs are not permitted"),
        ({"top_k": 0}, 400, "top_k must be from 1 to 1000"),
        ({"collection": "elsewhere"}, 404, "no collection 'elsewhere'"),
    ],
)
async def test_what_cannot_be_similar_is_refused(api, fields, status, words):
    body = {"collection": COLLECTION, "document_id": "d003", **fields}
    answer = await api.post("/v1/similar", json=body)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


async def test_reranking_is_the_nodes(api, known):
    body = {"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "weights": "mldr"}
    answer = await api.post("/v1/rerank", json=body)
    assert answer.status_code == 200, answer.text
    assert known.reranked == [body]
    result = answer.json()["results"][1]
    assert result == {
        "index": 1,
        "relevance_score": 0.5,
        "scores": dict.fromkeys(REPRESENTATIONS, 0.5),
    }


async def test_a_real_node_is_asked_as_it_would_be_directly(node):
    body = {"query": "q", "documents": ["a", "a q"], "return_documents": True, "top_n": 1}
    async with (
        EmbedderClient([node]) as client,
        httpx.AsyncClient(trust_env=False, timeout=PATIENT) as direct,
    ):
        passed = orjson.loads(await client.rerank(body))
        answer = (await direct.post(f"{node}/v1/rerank", json=body)).json()
        with pytest.raises(InvalidInput, match="query"):
            await client.rerank({**body, "query": ""})
    assert passed["results"] == answer["results"]
    assert passed.keys() == answer.keys()


async def test_reranks_refusals_are_those_that_coheres_clients_know(api, known):
    empty = await api.post("/v1/rerank", json={"query": "q", "documents": []})
    assert empty.status_code == 400
    assert empty.json()["message"].startswith("documents: List should have at least 1 item")
    assert empty.headers["content-type"] == "application/json"
    blank = await api.post("/v1/rerank", json={"query": " ", "documents": ["a"]})
    assert (blank.status_code, blank.json()["message"]) == (400, "query: the text is empty")
    wrong = await api.post("/v1/rerank", json={"query": 5, "documents": ["a"]})
    assert (wrong.status_code, wrong.json()["message"]) == (
        400,
        "query: Input should be a valid string",
    )
    known.down = True
    down = await api.post("/v1/rerank", json={"query": "q", "documents": ["a"]})
    assert (down.status_code, down.json()["code"]) == (503, "embedder_unreachable")
