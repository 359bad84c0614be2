"""A file behind an http or https address."""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import httpx

from ingest.sources.addresses import CheckedTransport
from ingest.sources.base import Opened
from ingest.sources.resuming import Resuming
from m3.errors import InvalidInput

MAX_REDIRECTS = 5

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_BUFFER_BYTES = 256 * 1024
_ENCODINGS = ("", "identity", "gzip", "x-gzip", "zstd")


def is_web(given: str) -> bool:
    return given.lower().startswith(("http://", "https://"))


def parsed(given: str) -> httpx.URL:
    """Raises InvalidInput for what is no address; the message holds nothing secret of it."""
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL as error:
        raise InvalidInput("an http(s) address that was given cannot be read: check it") from error
    if not url.host:
        raise InvalidInput("an http(s) address that was given names no host")
    return url


def shown(url: httpx.URL) -> str:
    """An address without what may be secret: user, password, query and fragment."""
    return str(url.copy_with(username=None, password=None, query=None, fragment=None))


def without_secrets(given: str) -> str:
    """A path as it was given; of an http(s) address, what may be shown of it."""
    return shown(parsed(given)) if is_web(given) else given


@dataclass(frozen=True, slots=True)
class WebFile:
    """What an address answers, asked for again from where a connection broke.

    Attributes:
        url: may hold a password, which is sent, so it is not in the repr.
        allow_private: also to addresses of this machine and of private networks.
    """

    url: httpx.URL = field(repr=False)
    allow_private: bool = False

    @contextmanager
    def open(self) -> Generator[Opened]:
        transport = CheckedTransport(allow_private=self.allow_private)
        headers = {"accept-encoding": "identity"}
        with (
            httpx.Client(
                transport=transport, timeout=_TIMEOUT, trust_env=False, headers=headers
            ) as client,
            closing(download(client, self.url)) as raw,
        ):
            yield Opened(io.BufferedReader(raw, _BUFFER_BYTES))


def download(client: httpx.Client, url: httpx.URL) -> Resuming:
    """The bytes of an address, in one piece however often the connection breaks."""
    return Resuming(_Download(client, url).fetch)


class _Download:
    """One file, known again by its ETag or its date when a part of it is asked for."""

    def __init__(self, client: httpx.Client, url: httpx.URL) -> None:
        self._client = client
        self._url = url
        self._validator: str | None = None
        self._size: int | None = None

    def fetch(self, offset: int) -> Generator[bytes]:
        """Raises InvalidInput where it is not the same file; ConnectionError for what may pass."""
        if offset and offset == self._size:
            return
        try:
            with closing(self._answer(self._headers(offset))) as response:
                self._check(response, offset)
                yield from response.iter_raw()
        except httpx.TransportError as error:
            raise ConnectionError(f"the connection broke: {error}") from error

    def _headers(self, offset: int) -> dict[str, str]:
        if not offset:
            return {}
        if self._validator is None:
            raise InvalidInput(
                "the connection broke, and the server cannot tell whether the rest is "
                "of the same file: run again"
            )
        return {"range": f"bytes={offset}-", "if-range": self._validator}

    def _answer(self, headers: dict[str, str]) -> httpx.Response:
        request = self._client.build_request("GET", self._url, headers=headers)
        for _ in range(MAX_REDIRECTS + 1):
            response = self._client.send(request, stream=True)
            if response.next_request is None:
                return response
            response.close()
            if request.url.scheme == "https" and response.next_request.url.scheme == "http":
                raise InvalidInput("it is redirected from https to http")
            request = response.next_request
        raise InvalidInput(f"it is redirected more than {MAX_REDIRECTS} times")

    def _check(self, response: httpx.Response, offset: int) -> None:
        status = response.status_code
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise ConnectionError(f"the server answers {status}")
        if offset and status == HTTPStatus.OK:
            raise InvalidInput(
                "the connection broke, and the file changed or cannot be read in parts: run again"
            )
        if status != (HTTPStatus.PARTIAL_CONTENT if offset else HTTPStatus.OK):
            raise InvalidInput(f"the server answers {status}")
        if response.headers.get("content-encoding", "").lower() not in _ENCODINGS:
            raise InvalidInput("the server packs it in a way that was not asked for")
        if offset:
            start = response.headers.get("content-range", "")
            if not start.startswith(f"bytes {offset}-"):
                raise InvalidInput("the server sends another part than was asked for")
            return
        length = response.headers.get("content-length", "")
        self._size = int(length) if length.isdecimal() else None
        tag = response.headers.get("etag", "")
        strong = tag if tag.startswith('"') else None
        self._validator = strong or response.headers.get("last-modified")
