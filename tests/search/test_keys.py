"""Every route of the search API asks who calls, and lets through only whom it is for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from m3.settings import Settings
from search.app import create
from serving.keys.caller import needed_by
from serving.keys.check import EXEMPT
from serving.keys.editing import add_key
from serving.keys.key import SCOPES
from tests.search.library import COLLECTION
from tests.search.tenants import OWN, api_of, client_of, keys_of_all, shared_store
from tests.serving.keys import bearing

pytestmark = pytest.mark.anyio

DESCRIPTIONS = {"/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"}
"""What FastAPI tells of the API itself, which is the same for every caller."""
PAGE = {"/", "/assets/{version}/{name}"}
"""Files of the page for people, which has no data of its own."""
DOCUMENT = f"/v1/collections/{COLLECTION}/documents/d0"
CALLS = [
    ("read", "POST", "/v1/search", {"query": "q", "collection": COLLECTION}),
    ("read", "POST", "/v1/similar", {"document_id": "d0", "collection": COLLECTION}),
    ("read", "POST", "/v1/search/batch", {"searches": [{"query": "q", "collection": COLLECTION}]}),
    ("read", "POST", "/v1/rerank", {"query": "q", "documents": ["d"]}),
    ("read", "GET", "/v1/collections", None),
    ("read", "GET", f"/v1/collections/{COLLECTION}", None),
    ("admin", "POST", "/v1/collections", {"name": "fresh"}),
    ("admin", "DELETE", f"/v1/collections/{COLLECTION}", None),
    ("read", "GET", DOCUMENT, None),
    ("write", "PUT", DOCUMENT, {"text": "words"}),
    ("write", "DELETE", DOCUMENT, None),
    ("read", "POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
]


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return api_of(tmp_path, shared_store())


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


def routes_of(app: FastAPI) -> Iterator[tuple[str, set[str], str | None]]:
    """Path, methods and the scope asked for, of whatever the app answers."""
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        scope = needed_by(route.dependant) if isinstance(route, APIRoute) else None
        yield context.path or "", context.methods or set(), scope


def test_every_route_asks_who_calls() -> None:
    app = create(Settings(), lambda: pytest.fail("nothing is opened"))
    found = list(routes_of(app))
    assert {path for path, _, scope in found if scope is None} == EXEMPT | DESCRIPTIONS | PAGE
    assert len([scope for _, _, scope in found if scope is not None]) >= len(CALLS)


def test_what_changes_something_asks_for_more_than_reading() -> None:
    app = create(Settings(), lambda: pytest.fail("nothing is opened"))
    for path, methods, scope in routes_of(app):
        if methods & {"PUT", "DELETE", "PATCH"}:
            assert scope in ("write", "admin"), path
        if methods & {"GET"} and scope is not None:
            assert scope == "read", path


async def ask(
    api: httpx.AsyncClient, method: str, path: str, body: Any, headers: dict[str, str]
) -> httpx.Response:
    return await api.request(method, path, json=body, headers=headers)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("scope", SCOPES)
async def test_a_scope_opens_what_it_is_for(api, call, scope):
    needed, *request = call
    answer = await ask(api, *request, bearing(scope))
    if scope == needed:
        assert answer.is_success, answer.text
    else:
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert f"the scope {needed}" in answer.json()["detail"]


@pytest.mark.parametrize(("needed", "method", "path", "body"), CALLS)
async def test_without_a_known_key_every_call_has_one_answer(api, needed, method, path, body):
    headers = [
        {},
        bearing("unknown"),
        bearing("old"),
        bearing(""),
        {"Authorization": "Bearer"},
        {"Authorization": "Basic read"},
        {"X-Tenant": "acme"},
    ]
    answers = [await ask(api, method, path, body, each) for each in headers]
    problems = [{**answer.json(), "request_id": ""} for answer in answers]
    assert {answer.status_code for answer in answers} == {401}
    assert all(problem == problems[0] for problem in problems)
    assert all(answer.headers["www-authenticate"] == "Bearer" for answer in answers)


async def test_probes_need_no_key(api):
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await api.get(path)).status_code == 200


async def test_a_write_key_cannot_drop_what_tenants_share(api):
    for path in (f"/v1/collections/{COLLECTION}", f"/v1/collections/{OWN}"):
        assert (await api.delete(path, headers=bearing("beta"))).status_code == 403
    assert (await api.get(f"/v1/collections/{OWN}", headers=bearing("beta"))).status_code == 200


async def test_a_key_that_is_added_opens_a_running_server(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.keys.ring._SECONDS", 0)
    async with client_of(api_of(tmp_path, shared_store())) as api:
        secret = add_key(tmp_path / "keys", "late", scopes=["read"], tenant="acme")
        answer = await api.get("/v1/collections", headers=bearing(secret))
        assert answer.status_code == 200


async def test_the_description_tells_of_keys_and_what_they_are_refused(app):
    paths = app.openapi()["paths"]
    assert {"401", "403", "429"} <= paths["/v1/search"]["post"]["responses"].keys()
    for path, operations in paths.items():
        for operation in operations.values():
            assert ("401" in operation["responses"]) is (path not in EXEMPT)


async def test_calls_that_change_something_leave_their_line(tmp_path):
    file = tmp_path / "audit"
    async with client_of(api_of(tmp_path, shared_store(), audit_file=file)) as api:
        for scope, method, path, body in CALLS:
            await ask(api, method, path, body, bearing(scope))
    lines = [each.split('"method":')[1] for each in file.read_text().splitlines()]
    assert len(lines) == len([scope for scope, *_ in CALLS if scope != "read"])
    assert '"collection":"fresh"' in lines[0]
    assert '"document":"d0"' in lines[-1]


def test_keys_that_cannot_be_read_are_refused_at_the_start(tmp_path):
    keys_of_all(tmp_path)
    with pytest.raises(Exception, match="M3_API_KEYS_FILE"):
        create(Settings(api_keys_file=tmp_path / "elsewhere"), lambda: pytest.fail("opened"))
