"""The doors of the node's page: what of Gradio is reached from outside, and what is not."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import httpx
import pytest

from embedder.page.door import MAX_CALL
from tests.processes import COMMANDS, server, wait_until

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="not installed: gradio")

LOAD_SECONDS = 200


@pytest.fixture(scope="module")
def http(page_url: str) -> Iterator[httpx.Client]:
    """A client of a node whose page has been loaded."""
    with httpx.Client(base_url=page_url, trust_env=False, timeout=60) as client:
        deadline = time.monotonic() + LOAD_SECONDS
        while "The page is loading" in client.get("/").text:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield client


def gradio_routes() -> list[tuple[str, str]]:
    """Every method and path of Gradio's own app, its parameters filled in."""
    import gradio
    from gradio.routes import App

    with gradio.Blocks(analytics_enabled=False) as blocks:
        gradio.Markdown("nothing")
    routes = list(App.create_app(blocks).routes)
    for route in routes:
        included: Any = getattr(route, "original_router", None)
        routes += included.routes if included else []
    found = {
        (method, route.path.replace(":path", "").replace("{", "").replace("}", ""))
        for route in routes
        for method in getattr(route, "methods", ())
    }
    assert ("POST", "/gradio_api/upload") in found
    return sorted(found)


OURS = {
    "/",
    "/gradio_api/app_id",
    "/theme.css",
    "/favicon.ico",
    "/manifest.json",
    "/docs",
    "/openapi.json",
    "/redoc",
}


def test_no_other_route_of_gradio_is_reached_and_none_takes_a_file(http, uploads):
    before = {path for path in uploads.rglob("*") if path.is_file()}
    file = b"x" * 3_000_000
    for method, path in gradio_routes():
        answer = http.request(method, path, files={"files": ("evil.txt", file)})
        if path in OURS and method in {"GET", "HEAD"}:
            continue
        if path.startswith(("/assets/", "/static/")) and method == "GET":
            assert answer.status_code == 404, path
            continue
        assert answer.status_code in {404, 405}, f"{method} {path}: {answer.status_code}"
        if method != "HEAD":
            assert answer.headers["content-type"] == "application/problem+json", path
    answer = http.post("/gradio_api/run/predict", files={"files": ("evil.txt", b"x")})
    assert answer.status_code == 400
    assert {path for path in uploads.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=https://example.org/",
        "/assets/../../../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/routes.py",
        "/static/..%2f..%2f..%2froutes.py",
        "/static//etc/passwd",
        "/monitoring",
        "/config",
    ],
)
def test_no_file_of_the_machine_is_served(http, path):
    answer = http.get(path)
    assert answer.status_code in {403, 404}
    assert "root:" not in answer.text
    assert "import" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"fn_index": 999, "data": []},
        {"fn_index": 0, "data": [1] * 20},
        {"fn_index": "0", "data": {}},
        {"fn_index": 0, "data": ["a", "b", "\ud800"]},
    ],
)
def test_calls_that_the_page_does_not_make_are_refused(http, body):
    answer = http.post(
        "/gradio_api/run/predict",
        content=json.dumps(body),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "values", [["", None, "x", 1, 1], ["", None, 1, [], 1], [3, None, 1, 1, 1]]
)
def test_values_of_another_type_never_reach_gradio(http, values):
    """Whichever of its functions takes so many."""
    for number in range(60):
        answer = http.post("/gradio_api/run/predict", json={"fn_index": number, "data": values})
        assert answer.status_code == 400, number


def test_a_call_that_is_longer_than_the_page_s_is_not_read(http):
    call = json.dumps({"fn_index": 0, "data": ["x" * MAX_CALL]}).encode()
    for content in (call, iter([call])):
        answer = http.post(
            "/gradio_api/run/predict",
            content=content,
            headers={"Content-Type": "application/json"},
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
        assert answer.json()["detail"].endswith("use the API for long texts")


def test_the_api_is_what_it_was(http):
    paths = http.get("/openapi.json").json()["paths"]
    assert "/v1/encode" in paths
    assert not [path for path in paths if "gradio" in path or path in {"/", "/theme.css"}]
    for path in ("/livez", "/readyz", "/metrics", "/docs", "/v1/models"):
        assert http.get(path).status_code == 200
    answer = http.get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    home = http.get("/")
    assert home.headers["x-request-id"]
    assert "default-src 'self'" in home.headers["content-security-policy"]
    assert 'route="/gradio_api/run/predict"' in http.get("/metrics").text


def test_a_node_ends_while_its_page_is_being_made(stand_in, tmp_path):
    slow, begun = tmp_path / "gradio", tmp_path / "begun"
    slow.mkdir()
    (slow / "__init__.py").write_text(f"open({str(begun)!r}, 'w')\nimport time\ntime.sleep(600)\n")
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    with server(arguments, {"PYTHONPATH": str(tmp_path)}) as (url, process):
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            assert "The page is loading" in client.get("/").text
            wait_until(lambda: "yes" if begun.exists() else None, process)
            assert client.get("/readyz").status_code == 200
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
