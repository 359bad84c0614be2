"""Requests to nodes: sent again where that helps, refused in words that say what to do.

Encoding is a pure function, so that sending a request twice never harms.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx
import structlog

from m3 import tracing
from m3.calling import bearer, members, refuse_no_address, seconds_of
from m3.errors import (
    DeadlineExceeded,
    EmbedderUnreachable,
    InvalidConfiguration,
    InvalidInput,
    M3Error,
    NotFound,
    Overloaded,
    Unauthorized,
    kind_of,
)

_CONNECT_SECONDS = 5.0
_FAILURES = 6
"""Attempts that may fail: about three seconds with the waits between them."""
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0
_GATEWAY = frozenset({502, 503, 504})
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Load:
    """What waits at a node, by its own word; what it computes just now is not counted.

    Attributes:
        seconds: that the node will take for it.
        full: it took a request no more.
    """

    tokens: int
    seconds: float
    full: bool = False


OnLoad = Callable[[Load], None]


class _AgainError(Exception):
    """What would be raised, were it not worth another try; `wait` where the node named one."""

    def __init__(self, error: M3Error, wait: float | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.code = error.code
        self.wait = wait


class Transport:
    """An HTTP client for nodes. Safe for many tasks of one event loop."""

    def __init__(self, urls: Sequence[str], *, timeout: float, api_key: str | None) -> None:
        """Raises InvalidConfiguration for what is no URL, InvalidInput for what is no key."""
        try:
            for url in urls:
                refuse_no_address(url, "a node")
        except InvalidInput as error:
            raise InvalidConfiguration(f"M3_EMBEDDER_URL: {error.message}") from error
        self._timeout = timeout
        # The environment's proxies are for the world outside.
        self._client = httpx.AsyncClient(trust_env=False, headers=bearer(api_key))
        self._turn = 0

    async def aclose(self) -> None:
        await self._client.aclose()

    async def send(
        self,
        method: str,
        urls: Sequence[str],
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        on_load: OnLoad | None = None,
    ) -> httpx.Response:
        """A successful answer from one of `urls`, which take turns.

        A full node is waited for as long as the timeout, a silent one for a few seconds.

        Args:
            on_load: told what every answer says of its node, refusals included.

        Raises:
            M3Error: the class that the node's problem document names.
            InvalidConfiguration: a node does not know our key.
            EmbedderUnreachable: no node answers.
        """
        deadline = time.monotonic() + self._timeout
        # Of this request alone: others begin while it waits, and each must get round all nodes.
        turn = self._turn = self._turn + 1
        tries = failures = 0
        while True:
            url = urls[(turn + tries) % len(urls)]
            tries += 1
            request = self._client.build_request(
                method,
                url + path,
                content=content,
                headers={**(headers or {}), **_request_id()},
                timeout=httpx.Timeout(
                    max(deadline - time.monotonic(), 0.01), connect=_CONNECT_SECONDS
                ),
            )
            try:
                with tracing.span(f"{method} {path}", _named(request), kind="client") as span:
                    request.headers.update(tracing.headers())
                    return await self._once(url, request, on_load, span)
            except _AgainError as again:
                failures += again.wait is None
                wait = again.wait if again.wait is not None else _FIRST_WAIT * 2 ** (failures - 1)
                # Spread out, so that callers refused together do not come back together.
                wait = min(wait, _LONGEST_WAIT) * random.uniform(1.0, 1.25)  # noqa: S311
                if failures >= _FAILURES or time.monotonic() + wait > deadline:
                    raise again.error from again
            await asyncio.sleep(wait)

    async def _once(
        self, url: str, request: httpx.Request, on_load: OnLoad | None, span: tracing.Span
    ) -> httpx.Response:
        try:
            answer = await self._client.send(request)
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            # Not again: a text that takes too long takes too long elsewhere.
            raise EmbedderUnreachable(
                f"the embedder at {url} did not answer within {self._timeout:g} s: "
                "see its log, or allow more with M3_EMBEDDER_TIMEOUT"
            ) from error
        except httpx.TransportError as error:
            raise _AgainError(unreachable(url, str(error) or type(error).__name__)) from error
        span.add({"http.response.status_code": answer.status_code})
        if on_load and (load := _load_of(answer)):
            on_load(load)
        if answer.is_success:
            return answer
        error = _error_of(url, answer)
        if isinstance(error, Overloaded):
            raise _AgainError(error, error.retry_after)
        if answer.status_code in _GATEWAY and not isinstance(error, DeadlineExceeded):
            raise _AgainError(error)
        raise error


def unreachable(url: str, reason: str) -> EmbedderUnreachable:
    """For a node that does not answer, or whatever answers there in its place."""
    return EmbedderUnreachable(
        f"no embedder node answers at {url} ({reason}): "
        "start one with `m3-embedder serve`, or set M3_EMBEDDER_URL"
    )


def _error_of(url: str, answer: httpx.Response) -> M3Error:
    """The error that a problem document names; a proxy's own pages count as unreachable."""
    problem = members(answer.content)
    detail = str(problem.get("detail", f"status {answer.status_code}"))
    if answer.status_code == Overloaded.status:
        retry_after = seconds_of(answer.headers.get("retry-after", ""))
        return Overloaded(f"the embedder at {url} is full: {detail}", retry_after)
    if answer.status_code == Unauthorized.status:
        # Not Unauthorized: whoever asks the search API has shown it a key that is good.
        return InvalidConfiguration(
            f"the embedder at {url} does not know the key that it was sent: "
            "set M3_API_KEY, where it is called from, to one that it knows"
        )
    kind = kind_of(str(problem.get("code")))
    # The root's own code says only that something broke over there, and a node has all that
    # we ask for: what has it not is another server.
    return unreachable(url, detail) if kind in (None, M3Error, NotFound) else kind(detail)


def _load_of(answer: httpx.Response) -> Load | None:
    full = answer.status_code == Overloaded.status
    try:
        return Load(
            int(answer.headers["x-queue-tokens"]), float(answer.headers["x-queue-seconds"]), full
        )
    except (KeyError, ValueError):
        return Load(0, 0.0, full) if full else None


def _named(request: httpx.Request) -> tracing.Attributes:
    return {
        "http.request.method": request.method,
        "server.address": request.url.host,
        "server.port": request.url.port or _PORTS[request.url.scheme],
    }


def _request_id() -> dict[str, str]:
    """The id of the request being served, so that one id finds all its log lines."""
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return {"X-Request-Id": request_id} if request_id else {}
