"""Every call that writes or administers leaves one line, whatever came of it; others leave none."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel
from structlog.testing import capture_logs

from m3.errors import InvalidConfiguration, NotFound
from m3.settings import Settings
from serving.abandon import Abandoned
from serving.application import create_app
from serving.audit import about
from serving.keys.caller import MayAdminister, MayRead, MayWrite
from serving.strict import router
from tests.serving.keys import bearing, keys_file, line

pytestmark = pytest.mark.anyio

DOCUMENT = "/c/{collection}/documents/{document_id:path}"


class Body(BaseModel):
    name: str


def make(settings: Settings) -> FastAPI:
    app = create_app(title="small", description="", settings=settings)
    routes = router()

    @routes.put(DOCUMENT, status_code=201)
    async def write(collection: str, document_id: str, body: Body, caller: MayWrite) -> str:
        match body.name:
            case "bug":
                raise ZeroDivisionError
            case "gone":
                raise Abandoned
            case "missing":
                raise NotFound("no")
        return caller.tenant

    @routes.get(DOCUMENT)
    async def read(collection: str, document_id: str, caller: MayRead) -> str:
        return caller.tenant

    @routes.post("/c")
    async def create(request: Request, body: Body, caller: MayAdminister) -> str:
        about(request, body.name)
        return caller.tenant

    app.include_router(routes)
    return app


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "audit"


@pytest.fixture
async def client(tmp_path: Path, file: Path) -> AsyncIterator[httpx.AsyncClient]:
    keys = keys_file(
        tmp_path / "keys",
        line("writer", scopes=["write"], tenant="acme"),
        line("reader", scopes=["read"], tenant="acme"),
        line("operator", tenant="*"),
    )
    app = make(Settings(api_keys_file=keys, audit_file=file, log_level="error"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(each) for each in file.read_text().splitlines()]


async def put(client: httpx.AsyncClient, key: str, name: str = "fine", **more: str) -> int:
    path = "/c/docs/documents/a/b?source=web"
    headers = bearing(key, **{"X-Request-Id": "r1", **more})
    return (await client.put(path, json={"name": name}, headers=headers)).status_code


async def test_a_write_is_told_with_who_what_and_what_came_of_it(client, file):
    with capture_logs() as logs:
        assert await put(client, "writer") == 201
    (told,) = lines(file)
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "key": "writer",
        "tenant": "acme",
        "scope": "write",
        "method": "PUT",
        "route": DOCUMENT,
        "collection": "docs",
        "source": "web",
        "document": "a/b",
        "status": 201,
        "request_id": "r1",
    }
    logged = [entry for entry in logs if entry["event"] == "audit"]
    assert [{k: entry[k] for k in told} for entry in logged] == [told]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_an_administrators_call_names_its_collection_and_tenant(client, file):
    for more in ({}, {"X-Tenant": "acm%C3%A9"}):
        await client.post("/c", json={"name": "fresh"}, headers=bearing("operator", **more))
    told = [(each["tenant"], each["collection"], each["scope"]) for each in lines(file)]
    assert told == [("default", "fresh", "admin"), ("acmé", "fresh", "admin")]


async def test_what_failed_or_was_refused_is_told_too(client, file):
    assert await put(client, "writer", "missing") == 404
    assert await put(client, "reader") == 403
    assert await put(client, "writer", **{"X-Tenant": "other"}) == 403
    broken = await client.put("/c/docs/documents/x", content=b"{", headers=bearing("writer"))
    assert broken.status_code == 400
    with capture_logs():
        assert await put(client, "writer", "bug") == 500
    with pytest.raises(AssertionError):  # the transport's: nothing is answered to nobody
        await put(client, "writer", "gone")
    told = [(each["key"], each["tenant"], each["status"]) for each in lines(file)]
    assert told == [
        ("writer", "acme", 404),
        ("reader", "acme", 403),
        ("writer", "acme", 403),
        ("writer", "acme", 400),
        ("writer", "acme", 500),
        ("writer", "acme", 499),
    ]


async def test_reading_is_not_told(client, file):
    answer = await client.get("/c/docs/documents/a", headers=bearing("reader"))
    assert answer.json() == "acme"
    assert await put(client, "unknown") == 401
    assert lines(file) == []


async def test_whoever_may_not_call_learns_nothing_of_the_body(client):
    answer = await client.put(
        "/c/docs/documents/x",
        content=b"{",
        headers=bearing("reader", **{"Content-Encoding": "gzip"}),
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_file_that_is_moved_away_is_begun_anew(client, file):
    await put(client, "writer")
    file.rename(file.with_suffix(".1"))
    await put(client, "writer")
    assert len(lines(file)) == len(lines(file.with_suffix(".1"))) == 1


async def test_a_line_that_cannot_be_written_is_an_error_in_the_log(client, file):
    file.unlink()
    file.mkdir()
    with capture_logs() as logs:
        assert await put(client, "writer") == 201
    assert "audit file not written" in {entry["event"] for entry in logs}


async def test_without_keys_the_calls_are_told_without_a_name(file):
    transport = httpx.ASGITransport(make(Settings(audit_file=file)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.put("/c/docs/documents/a", json={"name": "x"})).json() == "default"
    (told,) = lines(file)
    assert (told["key"], told["tenant"], told["source"]) == (None, "default", None)


async def test_a_file_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    with pytest.raises(InvalidConfiguration, match="M3_AUDIT_FILE"):
        make(Settings(audit_file=tmp_path))


@pytest.mark.parametrize(
    ("origin", "allowed"), [("https://app.example", True), ("https://other.example", False)]
)
async def test_origins_are_allowed_by_setting_alone(tmp_path, origin, allowed):
    keys = keys_file(tmp_path / "keys", line("reader", scopes=["read"]))
    ask: Mapping[str, str] = {
        "Origin": origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    settings = Settings(api_keys_file=keys, allowed_origins=("https://app.example",))
    for made, named in ((settings, allowed), (Settings(api_keys_file=keys), False)):
        transport = httpx.ASGITransport(make(made))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            path = "/c/docs/documents/a"
            preflight = await client.options(path, headers=ask)
            answer = await client.get(path, headers=bearing("reader", Origin=origin))
            assert answer.status_code == 200
            unknown = await client.get(path, headers={"Origin": origin})
            assert unknown.status_code == 401
        for each in (preflight, answer, unknown):
            assert ("access-control-allow-origin" in each.headers) is named
        assert preflight.status_code == (200 if named else 400 if made is settings else 401)
