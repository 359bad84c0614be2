"""The manners of an app: ids, problem documents, limits, keys, metrics, an honest OpenAPI."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from structlog.testing import capture_logs

from m3.errors import InvalidConfiguration, NotFound, NotReady, Overloaded
from m3.settings import Settings
from serving.application import create_app
from serving.keys.ring import KeyRing
from serving.lifecycle import Lifecycle
from serving.strict import MAX_DEPTH, router

pytestmark = pytest.mark.anyio


class Body(BaseModel):
    input: Annotated[list[str], Field(min_length=1)]
    extra: Any = None


def make(**options: Any) -> FastAPI:
    settings = options.pop("settings", None) or Settings(max_request_bytes=4096)
    app = create_app(title="small", description="", settings=settings, **options)
    routes = router(prefix="/v1")

    @routes.post("/echo")
    async def echo(body: Body) -> Body:
        return body

    @routes.get("/items/{item}")
    async def item(item: int) -> int:
        return item

    @routes.delete("/items/{item}")
    async def drop(item: int) -> int:
        raise NotFound(f"no item {item}")

    @routes.get("/bug")
    async def bug() -> int:
        return 1 // 0

    @routes.get("/busy")
    async def busy() -> int:
        raise Overloaded("the queue is full", retry_after=2.5)

    app.include_router(routes)
    return app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make()) as client:
        yield client


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert {"type", "title", "detail"} <= problem.keys()
    return problem


async def test_a_sane_request_id_is_kept_and_another_replaced(client):
    for given_id, kept in [("trace-1.a/b", True), ("x" * 129, False), ("a b", False), ("", False)]:
        answer = await client.get("/livez", headers={"X-Request-Id": given_id})
        assert (answer.headers["x-request-id"] == given_id) is kept


async def test_a_validation_error_names_the_item_and_the_reason(client):
    answer = await client.post("/v1/echo", json={"input": ["a", None]})
    problem = assert_problem(answer, 400, "invalid_input")
    assert problem["detail"] == "input[1]: Input should be a valid string"
    assert problem["errors"] == [{"item": "input[1]", "reason": "Input should be a valid string"}]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"input": [', "JSON"),
        (b'{"input": ["\xff"]}', "JSON"),
        (b'{"input": ["\\ud800"]}', "surrogate"),
        (b'{"input": ["a"], "extra": NaN}', "JSON"),
        (b'{"input": ["a"], "extra": ' + b"[" * 70 + b"]" * 70 + b"}", "nested deeper than 64"),
        (b"[" * 2000 + b"]" * 2000, "depth"),
        (b"", "must be an object"),
        (b"[]", "must be an object"),
    ],
)
async def test_a_body_that_is_not_json_we_accept_is_refused_with_a_reason(client, body, reason):
    answer = await client.post(
        "/v1/echo", content=body, headers={"Content-Type": "application/json"}
    )
    assert reason in assert_problem(answer, 400, "invalid_input")["detail"]


async def test_another_content_type_is_refused_with_what_to_send(client):
    answer = await client.post("/v1/echo", data={"input": "a"})
    assert "application/json" in assert_problem(answer, 400, "invalid_input")["detail"]


async def test_nesting_up_to_the_limit_is_accepted(client):
    depth = MAX_DEPTH - 2
    body = b'{"input": ["a"], "extra": ' + b"[" * depth + b"]" * depth + b"}"
    answer = await client.post(
        "/v1/echo", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 200


@pytest.fixture(scope="module")
def made() -> FastAPI:
    """One for many examples: to make it takes longer than to ask it."""
    return make()


@given(body=st.binary(max_size=200))
async def test_no_body_makes_it_fail(made, body):
    async with client_of(made) as client:
        answer = await client.post(
            "/v1/echo", content=body, headers={"Content-Type": "application/json"}
        )
    assert answer.status_code in {200, 400}


async def test_a_large_body_is_refused_announced_or_not(client):
    large = b'{"input": ["' + b"a" * 5000 + b'"]}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 1000):
            yield large[start : start + 1000]

    for content in (large, chunks()):
        answer = await client.post(
            "/v1/echo", content=content, headers={"Content-Type": "application/json"}
        )
        assert "4096" in assert_problem(answer, 413, "payload_too_large")["detail"]


async def test_unknown_paths_and_methods_are_problems_too(client):
    assert_problem(await client.get("/nowhere"), 404, "not_found")
    assert_problem(await client.get("/v1/items/1/"), 404, "not_found")
    answer = await client.put("/v1/items/1")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, DELETE"


async def test_our_errors_keep_their_status_and_words(client):
    problem = assert_problem(await client.delete("/v1/items/7"), 404, "not_found")
    assert problem["detail"] == "no item 7"
    answer = await client.get("/v1/busy")
    assert_problem(answer, 429, "overloaded")
    assert answer.headers["retry-after"] == "3"


async def test_a_bug_is_told_without_its_insides(client):
    with capture_logs() as logs:
        problem = assert_problem(await client.get("/v1/bug"), 500, "internal")
    assert "ZeroDivision" not in str(problem)
    (told,) = (log for log in logs if log["event"] == "unexpected")
    assert isinstance(told["exc_info"], ZeroDivisionError)


async def test_readyz_says_what_is_missing():
    async def loading() -> None:
        raise NotReady("the model is loading")

    async with client_of(make(lifecycle=Lifecycle(loading))) as client:
        problem = assert_problem(await client.get("/readyz"), 503, "not_ready")
        assert problem["detail"] == "the model is loading"
        assert (await client.head("/readyz")).status_code == 503
        assert (await client.get("/livez")).status_code == 200


async def test_a_path_may_have_its_own_error_shape_and_every_answer_its_headers():
    app = make(
        error_shapes={"/v1/echo": lambda problem: {"error": {"message": problem.detail}}},
        answer_headers=lambda: {"X-Queue-Tokens": "7"},
    )
    async with client_of(app) as client:
        answer = await client.post("/v1/echo", json={"input": []})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith("input: ")
        for path in ("/v1/echo", "/livez", "/nowhere"):
            assert (await client.get(path)).headers["x-queue-tokens"] == "7"


@pytest.mark.parametrize(
    ("path", "shaped"), [("/v1/echo", True), ("/v1/models/a/b", True), ("/v1/models", False)]
)
async def test_a_path_has_its_error_shape_before_it_has_a_route(tmp_path, path, shaped):
    shape = {"error": "ours"}
    app = make(
        settings=Settings(api_keys_file=keys_file(tmp_path, "first")),
        error_shapes=dict.fromkeys(("/v1/echo", "/v1/models/{name:path}"), lambda _: shape),
    )
    async with client_of(app) as client:
        answer = await client.get(path)
    assert answer.status_code == 401
    assert (answer.json() == shape) is shaped


def keys_file(tmp_path: Path, *keys: str) -> Path:
    file = tmp_path / "keys"
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
    file.write_text("# ours\n\n" + "\n".join(f"{digest}  # a person" for digest in digests))
    return file


async def test_keys_open_what_is_not_a_probe(tmp_path):
    app = make(settings=Settings(api_keys_file=keys_file(tmp_path, "first", "second")))
    async with client_of(app) as client:
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200
        for header in ({}, {"Authorization": "Bearer third"}, {"Authorization": "Basic first"}):
            answer = await client.get("/v1/items/1", headers=header)
            assert_problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
        for key in ("first", "second"):
            header = {"Authorization": f"Bearer {key}"}
            assert (await client.get("/v1/items/1", headers=header)).json() == 1


async def test_what_asks_for_a_key_itself_needs_none_before(tmp_path):
    settings = Settings(api_keys_file=keys_file(tmp_path, "first"))
    app = make(settings=settings, is_open=lambda path: path == "/v1/items/1")
    async with client_of(app) as client:
        assert (await client.get("/v1/items/1")).json() == 1
        for path in ("/v1/items/2", "/v1/items/1/", "/v1/items/10"):
            assert_problem(await client.get(path), 401, "unauthorized")


@pytest.mark.parametrize("text", ["", "# nothing\n", "not-a-digest\n", "ab" * 31])
async def test_a_keys_file_of_no_use_is_refused(tmp_path, text):
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(InvalidConfiguration, match="M3_API_KEYS_FILE"):
        KeyRing(file)
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        KeyRing(tmp_path / "missing")


async def test_metrics_count_by_route_not_by_path(client):
    for number in range(3):
        await client.get(f"/v1/items/{number}")
    await client.get("/nowhere")
    text = (await client.get("/metrics")).text
    line = 'm3_http_requests_total{method="GET",route="/v1/items/{item}",status="200"} 3.0'
    assert line in text
    assert 'route="unmatched"' in text
    assert "/nowhere" not in text
    assert 'm3_http_request_seconds_bucket{le="+Inf",route="/v1/items/{item}"} 3.0' in text


async def test_quiet_paths_and_probes_are_logged_at_debug_alone():
    app = make(is_quiet=lambda path: path.startswith("/assets/"))
    with capture_logs() as logs:
        async with client_of(app) as client:
            for path in ("/assets/index.js", "/livez", "/v1/items/1", "/assets"):
                await client.get(path)
    levels = {log["path"]: log["log_level"] for log in logs}
    assert levels == {
        "/assets/index.js": "debug",
        "/livez": "debug",
        "/v1/items/1": "info",
        "/assets": "info",
    }


async def test_the_openapi_document_claims_no_422_and_documents_problems(client):
    document = (await client.get("/openapi.json")).json()
    responses = document["paths"]["/v1/echo"]["post"]["responses"]
    assert responses.keys() == {"200", "400", "403", "408", "413", "415", "500"}
    problem = responses["400"]["content"]["application/problem+json"]["schema"]
    assert problem == {"$ref": "#/components/schemas/Problem"}
    assert "422" not in str(document)
    assert "503" in document["paths"]["/readyz"]["get"]["responses"]
    assert document["paths"]["/readyz"].keys() == {"get"}
