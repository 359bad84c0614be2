"""The search page's files over HTTP: what a browser may keep, and what it must not do with them."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import httpx
import pytest

from scoring.fusion import METHOD_WEIGHTS, PRESETS
from search.page.door import Files
from store.filters import OPERATORS
from tests.search.tenants import api_of, client_of, shared_store

pytestmark = pytest.mark.anyio

FILES = sorted(file.name for file in files("search.page").joinpath("files").iterdir())
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def assets_of(document: str) -> list[str]:
    return re.findall(r'(?:href|src)="(assets/[^"]+)"', document)


async def test_a_browser_is_told_to_run_nothing_but_the_pages_own_files(api) -> None:
    answer = await api.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        rule.strip().partition(" ")[::2]
        for rule in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<style|\son\w+=|\sstyle=|javascript:|https?://", answer.text)
    assert re.findall(r"<script(?![^>]*\ssrc=)([^>]*)>", answer.text) == [
        ' type="application/json" id="facts"'
    ]


async def test_files_are_kept_for_ever_and_the_page_is_asked_for_anew(api) -> None:
    page = await api.get("/")
    assert page.headers["cache-control"] == "no-cache"
    again = await api.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await api.get("/", headers={"If-None-Match": '"other"'})).status_code == 200
    folder = assets_of(page.text)[0].rpartition("/")[0]
    for name in FILES:
        if name == "index.html":
            continue
        answer = await api.get(f"/{folder}/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["content-type"].startswith(TYPES[name.rpartition(".")[2]])
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_all_that_a_file_names_is_there(api) -> None:
    named = {path.rpartition("/")[2] for path in assets_of((await api.get("/")).text)}
    for name in FILES:
        text = files("search.page").joinpath("files", name).read_text("utf-8")
        named |= set(re.findall(r'from "\./([^"]+)"', text))
    assert named == set(FILES) - {"index.html"}


@pytest.mark.parametrize(
    "path",
    ["/assets/{version}/none.js", "/assets/0/main.js", "/assets/{version}/..%2f..%2fdoor.py"],
)
async def test_there_is_nothing_else(api, path) -> None:
    answer = await api.get(path.format(version=Files.read().version))
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_head_is_answered_and_posting_is_not(api) -> None:
    for path in ("/", "/" + assets_of((await api.get("/")).text)[0]):
        head = await api.head(path)
        assert (head.status_code, head.content) == (200, b"")
        posted = await api.post(path, json={})
        assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")


async def test_the_page_knows_what_the_api_knows(api) -> None:
    page = (await api.get("/")).text
    facts = json.loads(re.findall(r'id="facts">(.*)</script>', page)[0])
    assert {m: tuple(w.values()) for m, w in facts["methods"].items()} == {
        method.value: weights.as_tuple() for method, weights in METHOD_WEIGHTS.items()
    }
    assert facts["presets"].keys() == PRESETS.keys()
    assert {type_: set(names) for type_, names in facts["operators"].items()} == {
        type_.value: names for type_, names in OPERATORS.items()
    }


async def test_only_the_page_itself_is_open_where_keys_are_configured(tmp_path: Path) -> None:
    async with client_of(api_of(tmp_path, shared_store())) as client:
        page = await client.get("/")
        assert page.status_code == 200
        assert (await client.get("/" + assets_of(page.text)[0])).status_code == 200
        for path in ("/v1/collections", "/docs", "/openapi.json", "/assets", "/assetsx/y"):
            assert (await client.get(path)).status_code == 401, path


async def test_the_apis_description_does_not_know_of_the_page(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/assets")]
