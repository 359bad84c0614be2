"""Sources behind addresses: real servers on this machine, and moto's S3."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from ingest.sources import Fields, Parsed, Reject, discover, read, without_secrets
from ingest.sources import resuming as resuming_module
from ingest.sources.addresses import is_public
from tests.buckets import s3_server

ROWS = b"".join(b'{"id": "d%d", "text": "The text of number %d."}\n' % (i, i) for i in range(400))


class Scripted(BaseHTTPRequestHandler):
    """Answers by path; what it was asked is kept."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[tuple[str, str, str | None]]] = []
    broken: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["host"], self.headers.get("range")))
        if self.path.startswith("/to/"):
            self.answer(302, b"", location=self.path.removeprefix("/to/"))
        elif self.path == "/loop.jsonl":
            self.answer(302, b"", location="/loop.jsonl")
        elif self.path.endswith("/rows.jsonl"):
            self.rows(tagged="untagged" not in self.path, breaks="breaks" in self.path)
        else:
            self.answer(404, b"")

    def rows(self, *, tagged: bool, breaks: bool) -> None:
        tag = {"etag": '"one"'} if tagged else {}
        asked = self.headers.get("range")
        if asked:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            told = f"bytes {start}-{len(ROWS) - 1}/{len(ROWS)}"
            self.answer(206, ROWS[start:], content_range=told, **tag)
        elif breaks:
            self.answer(200, ROWS, sent=len(ROWS) // 2, **tag)
            self.close_connection = True
        else:
            self.answer(200, ROWS, **tag)

    def answer(self, status: int, body: bytes, sent: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[:sent])

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming_module, "_FIRST_WAIT_SECONDS", 0.001)
    Scripted.asked.clear()


def found(address: str, *, allow_private: bool = True) -> list[Parsed | Reject]:
    return list(read(discover([address], allow_private=allow_private).files, Fields()))


def ids(items: list[Parsed | Reject]) -> list[str]:
    assert not [item for item in items if isinstance(item, Reject)], items[:2]
    return [item.document.id for item in items if isinstance(item, Parsed)]


def reason(items: list[Parsed | Reject]) -> str:
    [reject] = [item for item in items if isinstance(item, Reject)]
    return reject.reason


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1"),
        *("100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "::", "::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "fc00::1", "fe80::1", "ff02::1"),
        *("2001:db8::1", "2002:7f00:1::", "2001::1", "3fff::1"),
    ],
)
def test_addresses_that_are_not_public(address: str):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111"])
def test_addresses_that_are(address: str):
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]"])
def test_this_machine_is_not_read_unless_allowed(port: int, host: str):
    why = reason(found(f"http://{host}:{port}/rows.jsonl", allow_private=False))
    assert "--allow-private-addresses" in why
    assert Scripted.asked == []


def test_a_file_is_read(port: int):
    assert ids(found(f"http://127.0.0.1:{port}/rows.jsonl")) == [f"d{i}" for i in range(400)]


def test_a_redirect_is_followed_and_checked(port: int, monkeypatch: pytest.MonkeyPatch):
    here = f"http://127.0.0.1:{port}"
    assert len(ids(found(f"{here}/to//rows.jsonl"))) == 400
    assert "redirected more than 5 times" in reason(found(f"{here}/loop.jsonl", allow_private=True))
    assert "only http and https" in reason(found(f"{here}/to/ftp://127.0.0.1/rows.jsonl"))
    # A public name that redirects to this machine.
    monkeypatch.setattr(
        "ingest.sources.addresses.is_public", lambda address: address != "127.0.0.2"
    )
    why = reason(found(f"{here}/to/http://127.0.0.2:{port}/rows.jsonl", allow_private=False))
    assert "not public" in why
    assert [path for path, _, _ in Scripted.asked if path == "/rows.jsonl"] == ["/rows.jsonl"]


def test_a_name_is_resolved_once_and_the_connection_goes_there(
    port: int, monkeypatch: pytest.MonkeyPatch
):
    resolve, asked = socket.getaddrinfo, list[str]()

    def rebinding(host: str, *args: object, **more: object) -> object:
        if host != "news.example":
            return resolve(host, *args, **more)  # type: ignore[arg-type]
        asked.append(host)
        return resolve("127.0.0.1" if len(asked) == 1 else "203.0.113.1", *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    assert len(ids(found(f"http://news.example:{port}/rows.jsonl"))) == 400
    assert asked == ["news.example"]
    assert Scripted.asked[0][1] == f"news.example:{port}"


def test_a_connection_that_breaks_is_gone_on_with(port: int):
    assert len(ids(found(f"http://127.0.0.1:{port}/breaks/rows.jsonl"))) == 400
    assert [asked for _, _, asked in Scripted.asked] == [None, f"bytes={len(ROWS) // 2}-"]


def test_a_rest_that_may_be_of_another_file_is_not_taken(port: int):
    items = found(f"http://127.0.0.1:{port}/breaks/untagged/rows.jsonl")
    assert "run again" in reason(items)


def test_what_is_not_there_and_what_is_secret(port: int):
    [reject] = found(f"http://user:secret@127.0.0.1:{port}/nothing.jsonl?token=secret")
    assert isinstance(reject, Reject)
    assert "404" in reject.reason
    assert "secret" not in f"{reject.place} {reject.reason}"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://user:secret@host.example/a.md?sig=secret#x", "https://host.example/a.md"),
        ("https://host.example:8443/a.md", "https://host.example:8443/a.md"),
        ("docs/a b?.md", "docs/a b?.md"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
    ],
)
def test_what_dead_letters_keep_of_an_address(given: str, kept: str):
    assert without_secrets(given) == kept == without_secrets(kept)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as s3:
        s3.create_bucket(Bucket="library")
        s3.put_object(Bucket="library", Key="news/2026/rows.jsonl", Body=ROWS)
        s3.put_object(Bucket="library", Key="news/page.md", Body=b"# A page\n\nWith a text.")
        s3.put_object(Bucket="library", Key="news/.hidden.md", Body=b"no")
        s3.put_object(Bucket="library", Key="other/x.md", Body=b"no")
        yield "library"


def test_what_lies_below_a_prefix_is_read(bucket: str):
    assert ids(found(f"s3://{bucket}/news")) == [*(f"d{i}" for i in range(400)), "page.md"]
    assert ids(found(f"s3://{bucket}/news/page.md")) == ["page.md"]


def test_a_bucket_that_is_not_there_is_told(bucket: str):
    from m3.errors import InvalidInput

    with pytest.raises(InvalidInput, match=r"cannot list s3://nowhere"):
        discover(["s3://nowhere/x"])
