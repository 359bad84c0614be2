"""`m3-search mcp --url`: the tools over stdin and stdout, of an API that runs elsewhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from tests.processes import COMMANDS
from tests.search.library import COLLECTION
from tests.search.served import served
from tests.search.tenants import HAS, OWN, api_of, shared_store

COMMAND = COMMANDS / "m3-search"


@pytest.mark.anyio
async def test_a_key_decides_what_is_seen(tmp_path: Path) -> None:
    with served(api_of(tmp_path, shared_store())) as url:
        started = StdioServerParameters(
            command=str(COMMAND), args=["mcp", "--url", url], env={"M3_API_KEY": "acme"}
        )
        async with Client(started) as agent:
            tools = (await agent.list_tools()).tools
            listed = await agent.call_tool("list_collections", {})
            asked = {"query": "q", "collection": COLLECTION, "top_k": 50}
            found = await agent.call_tool("search", asked)
            document = {"collection": COLLECTION, "document_id": "d1"}
            fetched = await agent.call_tool("fetch_document", document)
            theirs = await agent.call_tool("search", {**asked, "collection": OWN})
    assert {tool.name for tool in tools} == {"search", "fetch_document", "list_collections"}
    counts = [
        (each["name"], each["documents"]) for each in listed.structured_content["collections"]
    ]
    assert counts == [(COLLECTION, HAS["acme"])]
    passages = found.structured_content["passages"]
    assert [passage["metadata"]["of"] for passage in passages] == ["acme"] * HAS["acme"]
    assert fetched.structured_content["chunks"][0]["text"] == "acme has text 1"
    assert theirs.is_error
    assert theirs.content[0].text == f"no collection {OWN!r}; there are: {COLLECTION}"


def test_it_ends_with_its_client() -> None:
    ended = subprocess.run(
        [COMMAND, "mcp", "--url", "http://127.0.0.1:9"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, b"")
