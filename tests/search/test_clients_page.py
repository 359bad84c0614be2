"""Every example of docs/clients.md, as it stands there, against a real API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from store.memory import MemoryStore
from tests.processes import COMMANDS
from tests.search.library import AnyQuery
from tests.search.served import served
from tests.search.tenants import api_of

PAGE = Path(__file__).parents[2] / "docs/clients.md"
URL = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.M)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API that holds nothing yet: the first example makes what the others ask."""
    app = api_of(tmp_path_factory.mktemp("page"), MemoryStore(), keys=False, queries=AnyQuery())
    with served(app) as address:
        yield address


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.parametrize("package", ["search", "m3"])
def test_type_checkers_believe_the_clients_types(package: str) -> None:
    assert files(package).joinpath("py.typed").is_file()


def test_the_page_has_examples_of_everything() -> None:
    told = "\n".join(blocks("python"))
    for name in (
        "SearchClient(",
        ".pages(",
        "AsyncSearchClient(",
        "mcp import",
        "langchain",
        "llama",
    ):
        assert name in told


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_an_example_does_what_it_says(url, number, capsys):
    example = blocks("python")[number]
    assert URL in example
    exec(compile(example.replace(URL, url), f"example {number}", "exec"), {"__name__": "example"})
    printed = capsys.readouterr().out
    assert printed.strip()
    if number != 3:
        assert "something else" not in printed
    if number == 0:
        assert "guide/install: Install it with pip" in printed


@pytest.mark.anyio
async def test_a_host_starts_what_it_is_told_to(url):
    (host,) = blocks("json")
    told = json.loads(host.replace(URL, url))["mcpServers"]["m3-retrieval"]
    command = str(COMMANDS / told.pop("command"))
    told["env"] = {"M3_API_KEY": "m3_x"}
    async with Client(StdioServerParameters(command=command, **told)) as agent:
        listed = await agent.call_tool("list_collections", {})
    assert [each["name"] for each in listed.structured_content["collections"]] == ["docs"]
