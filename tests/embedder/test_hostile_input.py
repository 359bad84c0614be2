"""What no node should be sent: it answers a 4xx with item and reason, and lives on."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from m3.settings import Settings

JSON = {"Content-Type": "application/json"}
LIMIT = Settings.model_fields["max_request_bytes"].default
PATHS = ("/v1/encode", "/v1/embeddings", "/v1/rerank", "/v1/tokenize")


@pytest.fixture(scope="module")
def http(node: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=node, trust_env=False, timeout=120) as client:
        yield client


@pytest.fixture(autouse=True)
def _lives_on(http: httpx.Client) -> Iterator[None]:
    yield
    answer = http.post("/v1/encode", json={"input": ["still here"], "outputs": ["sparse"]})
    assert answer.status_code == 200


def text_body(path: str, text: bytes) -> bytes:
    """A right body for `path` but for its one text, a JSON value as bytes."""
    if path == "/v1/rerank":
        return b'{"query": "q", "documents": [' + text + b"]}"
    return b'{"input": [' + text + b"]}"


def message(answer: httpx.Response) -> str:
    problem = answer.json()
    return problem["error"]["message"] if "error" in problem else problem["detail"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"null", "should be a valid string|neither a text"),
        (b"1.5", "should be a valid string|neither a text"),
        (b'"\xff\xfe"', "[0] is not Unicode"),
        (b'"\\ud800"', "[0] is not Unicode"),
        (b"NaN", "not JSON we accept"),
        (b"-Infinity", "not JSON we accept"),
        (b"1e999", "not JSON we accept"),
        (b"1" * 400, "not JSON we accept"),
        (b"123456789012345678901234567890", "should be a valid string|no token"),
        (b"[" * 65 + b"]" * 65, "nested deeper than 64|neither"),
        (b"[" * 100_000 + b"]" * 100_000, "not JSON we accept"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested deeper"),
        (b'"a', "not JSON we accept"),
        (b'"a"],', "not JSON we accept"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else "",
)
def test_a_value_that_is_no_text(http, path, text, words):
    answer = http.post(path, content=text_body(path, text), headers=JSON)
    assert answer.status_code == 400, answer.text
    assert any(word in message(answer) for word in words.split("|"))


@pytest.mark.parametrize("path", PATHS)
def test_ten_thousand_texts(http, path):
    many = b",".join([b'"a"'] * 10_000)
    answer = http.post(path, content=text_body(path, many), headers=JSON)
    assert answer.status_code == 400
    assert "10000 texts; one request may have 2048" in message(answer)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("faults", [60_000, 1_000_000])
def test_many_faults_are_told_by_the_first(http, path, faults):
    many = b",".join([b"null"] * faults)
    answer = http.post(path, content=text_body(path, many), headers=JSON)
    assert answer.status_code == 400
    assert len(answer.json().get("errors", [])) <= 1


MANY = 100_000


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/encode", {"outputs": [0] * MANY}),
        ("/v1/encode", {"outputs": ["dense"] * MANY}),
        ("/v1/encode", {str(i): 0 for i in range(MANY)}),
        ("/v1/tokenize", {str(i): 0 for i in range(MANY)}),
        ("/v1/rerank", {"rank_fields": [0] * MANY}),
        ("/v1/rerank", {"weights": {str(i): 0 for i in range(MANY)}}),
    ],
    ids=["outputs", "repeated", "members", "tokenize", "rank_fields", "weights"],
)
def test_many_faults_beside_the_texts_are_told_by_the_first(http, path, more):
    texts = {"query": "q", "documents": ["a"]} if path == "/v1/rerank" else {"input": ["a"]}
    answer = http.post(path, json={**texts, **more})
    assert answer.status_code == 400
    assert any(word in message(answer) for word in ("List should have at most", "it may have"))
    assert len(answer.json().get("errors", [])) <= 1


def chunks(total: int, content: bytes = b"") -> Iterator[bytes]:
    """A body of `total` bytes whose length nobody announces."""
    yield content
    for _ in range((total - len(content)) // 65536):
        yield b" " * 65536


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("announced", [True, False])
def test_a_body_of_50_megabytes(node, path, announced):
    """By a client that looks at the answer only when it has sent all, as most do."""
    size = 50 * 2**20
    headers = JSON if announced else {**JSON, "Transfer-Encoding": "chunked"}
    content: Any = b" " * size if announced else chunks(size)
    address = urlsplit(node)
    with closing(HTTPConnection(address.hostname, address.port, timeout=120)) as connection:
        connection.request("POST", path, content, headers, encode_chunked=not announced)
        answer = connection.getresponse()
        text = answer.read().decode()
    assert answer.status == 413
    assert f"over {LIMIT} bytes" in text
    assert "M3_MAX_REQUEST_BYTES" in text


def test_who_asks_before_sending_too_much_is_told_before_sending(node):
    address = urlsplit(node)
    head = (
        "POST /v1/encode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {50 * 2**20}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_body_without_length_that_is_small_enough(http):
    body = text_body("/v1/encode", b'"a text"')
    answer = http.post("/v1/encode", content=chunks(2**20, body), headers=JSON)
    assert answer.status_code == 200


def test_more_tokens_than_one_request_may_have(http):
    texts = [f"{i} " + "word " * 500 for i in range(270)]
    bodies = {
        "/v1/encode": {"input": texts},
        "/v1/embeddings": {"input": texts, "truncate": True},
        "/v1/rerank": {"query": "q", "documents": texts},
        "/v1/tokenize": {"input": texts},
    }
    for path, body in bodies.items():
        answer = http.post(path, json=body)
        assert answer.status_code == 413
        assert "tokens at once; one request may have 131072" in message(answer)


@pytest.mark.parametrize("path", PATHS)
def test_compressed_bodies(http, path):
    content = gzip.compress(text_body(path, b'"a text"'))
    for encoding in ("gzip", "br", "GZIP, identity"):
        headers = {**JSON, "Content-Encoding": encoding}
        answer = http.post(path, content=content, headers=headers)
        assert answer.status_code == 415
        assert f"Content-Encoding {encoding}" in message(answer)
        assert answer.headers["accept-encoding"] == "identity"
    plain = {**JSON, "Content-Encoding": "identity"}
    answer = http.post(path, content=text_body(path, b'"a text"'), headers=plain)
    assert answer.status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "json"])
def test_other_content_types(http, path, kind):
    headers = {"Content-Type": kind} if kind else {}
    answer = http.post(path, content=text_body(path, b'"a text"'), headers=headers)
    assert answer.status_code == 400
    assert "application/json" in message(answer)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "BREW"])
def test_other_methods(http, path, method):
    answer = http.request(method, path)
    assert answer.status_code in {405, 400}
    if method != "BREW":
        assert answer.headers["allow"] == "POST"


def test_a_key_twice_counts_as_it_was_said_last(http):
    body = b'{"input": ["a"], "outputs": ["sparse"], "input": ["b", "c"]}'
    assert len(http.post("/v1/encode", content=body, headers=JSON).json()["data"]) == 2


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"POST /v1/encode HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/encode HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /v1/encode HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: \xff\xfe\r\n\r\n",
    ],
    ids=["nonsense", "negative", "huge", "chunk", "path", "header"],
)
def test_what_is_hardly_http(node, sent):
    """Answered or hung up on, but not with a failure."""
    address = urlsplit(node)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        answer = b""
        with suppress(OSError):
            connection.sendall(sent)
            # Hung up on already, where the server was quicker.
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
    assert not answer.startswith(b"HTTP/1.1 5")
