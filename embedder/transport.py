"""Requests to nodes: retried where that is safe and helps, refused in words that say what to do.

Encoding is a pure function, so that sending a request again never harms.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import httpx
import orjson
import structlog

from m3.errors import (
    DeadlineExceeded,
    EmbedderUnreachable,
    InvalidConfiguration,
    M3Error,
    Overloaded,
    Unauthorized,
)

_CONNECT_SECONDS = 5.0
_FAILURES = 6
"""Times that nobody may answer, about three seconds with the waits between."""
_FIRST_WAIT = 0.1
_LONGEST_WAIT = 10.0
_AGAIN = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What an answer that is no success says."""

    status: int
    code: str
    detail: str
    retry_after: float


class Transport:
    """An HTTP client for nodes. Safe for many tasks of one event loop."""

    def __init__(self, *, timeout: float, api_key: str | None) -> None:
        self._timeout = timeout
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # The environment's proxies are for the world outside.
        self._client = httpx.AsyncClient(trust_env=False, headers=headers)
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
    ) -> httpx.Response:
        """A successful answer of one of `urls`, which are tried in turn.

        Full nodes are waited for as long as the timeout, silent ones for a few seconds.

        Raises:
            M3Error: the class that the node's problem document names.
            EmbedderUnreachable: no node answers.
        """
        deadline = time.monotonic() + self._timeout
        headers = {**(headers or {}), **_trace()}
        self._turn += 1
        failures = 0
        while True:
            url = urls[(self._turn + failures) % len(urls)]
            timeout = httpx.Timeout(
                max(deadline - time.monotonic(), 0.001), connect=_CONNECT_SECONDS
            )
            try:
                answer = await self._client.request(
                    method, url + path, content=content, headers=headers, timeout=timeout
                )
            except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
                raise EmbedderUnreachable(
                    f"the embedder at {url} did not answer within {self._timeout:g} s: "
                    "see its log, or allow more with M3_EMBEDDER_TIMEOUT"
                ) from error
            except httpx.TransportError as error:
                failures += 1
                if failures >= _FAILURES:
                    raise unreachable(urls, str(error)) from error
                wait = _FIRST_WAIT * 2 ** (failures - 1)
            else:
                if answer.is_success:
                    return answer
                refusal = _refusal(answer)
                if refusal.status == Overloaded.status:
                    wait = refusal.retry_after
                elif refusal.status in _AGAIN and refusal.code != DeadlineExceeded.code:
                    failures += 1
                    wait = _FIRST_WAIT * 2 ** (failures - 1)
                else:
                    _raise(url, refusal)
                if failures >= _FAILURES or time.monotonic() + wait > deadline:
                    _raise(url, refusal)
            # Spread out, so that callers refused together do not come back together.
            await asyncio.sleep(min(wait, _LONGEST_WAIT) * random.uniform(0.75, 1.25))  # noqa: S311
