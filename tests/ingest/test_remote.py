"""Sources behind addresses: real servers on this machine, and moto's S3."""

from __future__ import annotations

import io
import itertools
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import pytest

from ingest.sources import Fields, Parsed, Reject, discover, read, web, without_secrets
from ingest.sources import resuming as resuming_module
from ingest.sources.addresses import is_public
from ingest.sources.resuming import Resuming
from m3.errors import InvalidInput
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
    server.server_close()


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


def downloaded(*answers: httpx.Response) -> tuple[bytes, list[httpx.Request]]:
    """What is read where a server gives these answers in turn, and what it was asked."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answers[len(asked) - 1]

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        download = web.download(client, httpx.URL("https://host.example/a.md"))
        return io.BufferedReader(download).read(), asked


class Breaking(httpx.SyncByteStream):
    def __init__(self, sent: bytes) -> None:
        self._sent = sent

    def __iter__(self) -> Iterator[bytes]:
        yield self._sent
        raise httpx.ReadError("it broke")


def broken(sent: bytes, whole: int, **headers: str) -> httpx.Response:
    length = {"content-length": str(whole)}
    return httpx.Response(200, stream=Breaking(sent), headers=length | headers)


def test_a_redirect_from_https_to_http_is_not_followed():
    with pytest.raises(InvalidInput, match="from https to http"):
        downloaded(httpx.Response(302, headers={"location": "http://host.example/a.md"}))


@pytest.mark.parametrize(
    ("known", "named"),
    [
        ({"etag": '"one"'}, '"one"'),
        ({"etag": 'W/"one"', "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT"}, None),
    ],
)
def test_the_rest_is_asked_for_of_the_same_file(known: dict[str, str], named: str | None):
    rest = httpx.Response(
        206, stream=httpx.ByteStream(b"rest"), headers={"content-range": "bytes 4-7/8"}
    )
    text, asked = downloaded(broken(b"some", 8, **known), rest)
    assert text == b"somerest"
    assert asked[1].headers["if-range"] == (named or known["last-modified"])


def test_a_file_that_changed_after_a_break_is_refused():
    """A server that has another file sends it whole, whatever part is asked for."""
    with pytest.raises(InvalidInput, match="changed"):
        downloaded(
            broken(b"some", 8, etag='"one"'),
            httpx.Response(200, content=b"other file", headers={"etag": '"two"'}),
        )


def test_a_server_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch):
    clock = itertools.count(step=20.0)
    own = SimpleNamespace(monotonic=lambda: float(next(clock)))
    monkeypatch.setattr(resuming_module, "time", own)

    def drops(_: int) -> Iterator[bytes]:
        while True:
            yield b"x"

    with pytest.raises(InvalidInput, match="slower than 1 KB"):
        io.BufferedReader(Resuming(drops)).read()


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
def s3() -> Iterator[Any]:
    with s3_server() as client:
        yield client


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    s3.create_bucket(Bucket="library")
    s3.put_object(Bucket="library", Key="news/2026/rows.jsonl", Body=ROWS)
    s3.put_object(Bucket="library", Key="news/page.md", Body=b"# A page\n\nWith a text.")
    s3.put_object(Bucket="library", Key="news/.hidden.md", Body=b"no")
    s3.put_object(Bucket="library", Key="other/x.md", Body=b"no")
    return "library"


def test_what_lies_below_a_prefix_is_read(bucket: str):
    assert ids(found(f"s3://{bucket}/news")) == [*(f"d{i}" for i in range(400)), "page.md"]
    assert ids(found(f"s3://{bucket}/news/page.md")) == ["page.md"]


def test_an_object_that_is_another_than_was_listed_is_refused(bucket: str, s3: Any):
    s3.put_object(Bucket=bucket, Key="changing/a.md", Body=b"one")
    files = discover([f"s3://{bucket}/changing"]).files
    s3.put_object(Bucket=bucket, Key="changing/a.md", Body=b"another")
    assert "changed after it was listed" in reason(list(read(files, Fields())))


def test_a_bucket_that_is_not_there_is_told(bucket: str):
    with pytest.raises(InvalidInput, match=r"cannot list s3://nowhere"):
        discover(["s3://nowhere/x"])
