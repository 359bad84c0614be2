"""The tools, asked by the protocol's own client over HTTP; what browsers and strangers get."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
from fastapi.routing import iter_route_contexts
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

from commands.search import mcp as m3_search
from m3.errors import InvalidConfiguration
from m3.settings import Settings
from search.app import create
from tests.search.library import COLLECTION, library, passages_of
from tests.search.served import PATIENT, served
from tests.search.tenants import HAS, OWN, TENANTS, api_of, shared_store
from tests.serving.keys import bearing, keys_file, line

pytestmark = pytest.mark.anyio

ASKED = {"query": "q", "collection": COLLECTION}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API without keys over a library of thirty passages, for one origin's pages too."""
    folder, store = tmp_path_factory.mktemp("mcp"), library(passages_of(30))
    origins = ("https://search.internal",)
    with served(api_of(folder, store, keys=False, allowed_origins=origins)) as address:
        yield address


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API over a library that tenants share."""
    with served(api_of(tmp_path_factory.mktemp("mcp-keys"), shared_store())) as address:
        yield address


@asynccontextmanager
async def agent(
    url: str, headers: dict[str, str] | None = None, mode: str = "auto"
) -> AsyncGenerator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=PATIENT) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def told(result: CallToolResult) -> str:
    assert [content.type for content in result.content] == ["text"]
    return result.content[0].text


async def value(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, told(result)
    return result.structured_content


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_agent_finds_its_tools_and_uses_them(url, mode):
    async with agent(url, mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools.keys() == {"search", "fetch_document", "list_collections"}
        for tool in tools.values():
            assert tool.annotations.read_only_hint
            assert tool.input_schema["additionalProperties"] is False
            assert tool.output_schema["type"] == "object"
        assert tools["search"].input_schema["required"] == ["collection", "query"]
        listed = await value(client, "list_collections", {})
        assert listed["collections"] == [
            {
                "name": COLLECTION,
                "documents": 30,
                "chunks": 30,
                "fields": {"shelf": "int"},
                "model": "known",
                "stand_in": False,
            }
        ]
        found = await value(client, "search", {**ASKED, "top_k": 3})
        first = found["passages"][0]
        whole = {"collection": COLLECTION, "document_id": first["document_id"]}
        document = await value(client, "fetch_document", whole)
    assert len(found["passages"]) == 3
    assert document["chunks"][first["position"]]["text"] == first["text"]
    assert document["total"] == 1


async def test_a_search_is_that_of_the_api(url):
    for more in (
        {"method": "dense", "top_k": 4},
        {"filter": {"field": "shelf", "op": "eq", "value": 1}, "min_score": 0.05},
        {"must": ["d003"], "must_not": ["d004"]},
        {"group_by": "document"},
    ):
        body = {**ASKED, **more}
        async with (
            httpx.AsyncClient(trust_env=False, timeout=PATIENT) as http,
            agent(url) as client,
        ):
            theirs = (await http.post(f"{url}/v1/search", json=body)).json()
            ours = await value(client, "search", body)
        assert [(each["document_id"], each["score"]) for each in ours["passages"]] == [
            (hit["document_id"], hit["score"]) for hit in theirs["hits"]
        ]
        assert ours["page"] == theirs["page"]


async def test_pages_go_on(url):
    async with agent(url) as client:
        first = await client.call_tool("search", {**ASKED, "top_k": 20})
        assert "There is more" in told(first)
        page = first.structured_content["page"]
        second = await client.call_tool("search", {**ASKED, "top_k": 20, "page": page})
        assert "There is more" not in told(second)
    found = [*first.structured_content["passages"], *second.structured_content["passages"]]
    assert len({passage["document_id"] for passage in found}) == 30


async def test_hosts_that_show_text_alone_have_enough(url):
    async with agent(url) as client:
        found = told(await client.call_tool("search", {**ASKED, "must": ["d003"]}))
        nothing = told(await client.call_tool("search", {**ASKED, "must": ["nowhere"]}))
        document = {"collection": COLLECTION, "document_id": "d003"}
        fetched = told(await client.call_tool("fetch_document", document))
        listed = told(await client.call_tool("list_collections", {}))
    assert "document_id 'd003', source 'default', position 0] title of d003: text of d003" in found
    assert nothing == "Nothing found in library."
    assert fetched == "title of d003\n[chunk 0, characters 0 to 12]\ntext of d003"
    assert listed == "library: 30 documents, 30 chunks; fields to filter by: shelf (int)"


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("search", {**ASKED, "collection": "nowhere"}, "no collection 'nowhere'; there are: "),
        ("search", {"query": "q"}, "collection: Field required"),
        ("search", {**ASKED, "query": " "}, "query is empty: send some words"),
        ("search", {**ASKED, "method": "bm25"}, "method: Input should be 'dense', 'sparse'"),
        ("search", {**ASKED, "top_k": 0}, "top_k must be from 1 to 1000, got 0"),
        ("search", {**ASKED, "tenant": "beta"}, "unknown: tenant; known: query, collection"),
        ("search", {**ASKED, "filter": {"field": "x", "op": "eq", "value": 1}}, "not declared"),
        ("fetch_document", {"collection": COLLECTION, "document_id": "x"}, "no document 'x'"),
        ("fetch_document", {"collection": COLLECTION, "document_id": "x", "most": 0}, "most: "),
        ("list_collections", {"tenant": "beta"}, "tenant: Extra inputs are not permitted"),
    ],
)
async def test_what_is_wrong_is_told_in_plain_words(url, tool, arguments, words):
    async with agent(url) as client:
        result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert words in told(result)
    assert result.structured_content is None


async def test_a_tool_that_is_none_is_an_error_of_the_protocol(url):
    async with agent(url) as client:
        with pytest.raises(MCPError, match="no tool 'drop'; there are: search"):
            await client.call_tool("drop", {})


async def test_a_bug_is_told_as_one_and_nothing_else_of_it(url, monkeypatch):
    def broken(*_: Any) -> None:
        raise RuntimeError("inner words")

    monkeypatch.setattr("search.mcp.finding._passage", broken)
    async with agent(url) as client:
        result = await client.call_tool("search", ASKED)
    assert result.is_error
    assert told(result) == "this is a bug in m3-retrieval: its log has it"


async def test_documents_are_read_a_part_at_a_time(monkeypatch, url):
    from search.views import ChunkView, DocumentView

    chunks = [ChunkView(f"c{i}", i, f"text {i}", i, i + 1, (), None) for i in range(9)]
    view = DocumentView("long", "default", "", {}, "hash", chunks)
    monkeypatch.setattr("search.seeing.document", lambda *_: view)
    async with agent(url) as client:
        asked = {"collection": COLLECTION, "document_id": "long", "first": 3, "most": 2}
        result = await client.call_tool("fetch_document", asked)
    assert [chunk["position"] for chunk in result.structured_content["chunks"]] == [3, 4]
    assert result.structured_content["total"] == 9
    assert told(result).endswith("2 of 9 chunks: `first` says where to begin.")


@pytest.mark.parametrize("tenant", TENANTS)
async def test_a_tenant_finds_reads_and_counts_its_own_alone(keyed, tenant):
    async with agent(keyed, bearing(tenant)) as client:
        found = await value(client, "search", {**ASKED, "top_k": 50})
        assert {passage["metadata"]["of"] for passage in found["passages"]} == {tenant}
        listed = (await value(client, "list_collections", {}))["collections"]
        counts = {each["name"]: each["documents"] for each in listed}
        own = {OWN: 1} if tenant == "beta" else {}
        assert counts == {COLLECTION: HAS[tenant], **own}
        for number in range(max(HAS.values())):
            asked = {"collection": COLLECTION, "document_id": f"d{number}"}
            result = await client.call_tool("fetch_document", asked)
            if number < HAS[tenant]:
                text = result.structured_content["chunks"][0]["text"]
                assert text == f"{tenant} has text {number}"
            else:
                assert told(result) == f"no document 'd{number}' from source 'default'"


async def test_what_is_anothers_own_is_not_there(keyed):
    async with agent(keyed, bearing("acme")) as client:
        for tool, more in (("search", {"query": "q"}), ("fetch_document", {"document_id": "d0"})):
            theirs = await client.call_tool(tool, {"collection": OWN, **more})
            never = await client.call_tool(tool, {"collection": "never", **more})
            assert theirs.is_error
            assert told(theirs).replace(OWN, "never") == told(never)
            assert told(theirs).endswith("there are: library")


async def test_a_page_is_of_its_own_tenant_alone(keyed):
    async with agent(keyed, bearing("beta")) as client:
        page = (await value(client, "search", {**ASKED, "top_k": 2}))["page"]
    async with agent(keyed, bearing("acme")) as client:
        result = await client.call_tool("search", {**ASKED, "top_k": 2, "page": page})
    assert told(result).startswith("page is of another search")


async def test_an_operator_names_a_tenant(keyed):
    async with agent(keyed, bearing("operator", **{"X-Tenant": "beta"})) as client:
        listed = (await value(client, "list_collections", {}))["collections"]
    assert {each["documents"] for each in listed} == {HAS["beta"], 1}


def send(method: str, url: str, **options: Any) -> httpx.Response:
    return httpx.request(method, f"{url}/mcp", trust_env=False, timeout=PATIENT, **options)


def post(url: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    return send("POST", url, content=content, headers=headers)


def test_keys_are_asked_for_as_anywhere(keyed):
    for headers in ({}, bearing("unknown"), bearing("old")):
        answer = post(keyed, PING, **headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    answer = post(keyed, PING, **bearing("write"))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert post(keyed, PING, **bearing("read")).json()["result"] == {}


def test_it_is_one_way_and_without_sessions(url):
    answer = post(url, PING)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert "mcp-session-id" not in answer.headers
    for method in ("GET", "DELETE"):
        refused = send(method, url)
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": NaN}}', 400),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "x": "\\ud800"}', 400),
        (b"[" * 70 + b"]" * 70, 400),
        ([PING, PING], 400),
        (b" " * (32 * 2**20 + 1), 413),
    ],
)
def test_a_body_is_held_to_what_all_bodies_are(url, body, status):
    answer = post(url, body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_limits_count_every_request(tmp_path):
    file = keys_file(tmp_path / "few", line("slow", rate=0.01, burst=2))
    with served(api_of(tmp_path, shared_store(), api_keys_file=file)) as address:
        answers = [post(address, PING, **bearing("slow")) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[-1].headers["retry-after"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "192.168.0.7"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "search.internal"}, 200),
        ({"Host": "["}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, 200),
        ({"Origin": "https://search.internal"}, 200),
    ],
)
def test_pages_of_others_reach_nothing(url, headers, status):
    answer = post(url, PING, **headers)
    assert answer.status_code == status
    if status == 403:
        assert "M3_ALLOWED_ORIGINS" in answer.json()["detail"]


def test_a_page_that_may_call_is_told_so_before_it_does(url):
    asked = {
        "Origin": "https://search.internal",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, mcp-protocol-version, mcp-method",
    }
    answer = send("OPTIONS", url, headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://search.internal"
    foreign = {**asked, "Origin": "http://evil.example"}
    assert send("OPTIONS", url, headers=foreign).status_code == 400


def test_a_server_without_the_extra_has_no_tools(monkeypatch):
    monkeypatch.setattr("search.mcp.routes.find_spec", lambda _: None)
    app = create(Settings(), lambda: pytest.fail("nothing is opened"))
    assert "/mcp" not in {context.path for context in iter_route_contexts(app.routes)}
    monkeypatch.setattr("commands.search.mcp.find_spec", lambda _: None)
    with pytest.raises(InvalidConfiguration, match=r"pip install 'm3-retrieval\[mcp\]'"):
        m3_search.mcp()


def test_a_server_starts_without_waiting_for_the_protocol() -> None:
    program = "import sys, search.app; sys.exit('mcp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_with_keys_a_server_may_have_any_name(keyed):
    known = {**bearing("read"), "Host": "search.example"}
    assert post(keyed, PING, **known).status_code == 200
    assert post(keyed, PING, **known, Origin="https://search.example").status_code == 200
    assert post(keyed, PING, **known, Origin="https://evil.example").status_code == 403
