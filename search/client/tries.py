"""What is sent again, and when: the same for both clients."""

from __future__ import annotations

import random
import time
from math import inf

import httpx

from m3.errors import DeadlineExceeded, M3Error, Overloaded, Unreachable
from search.client.answers import ReadError, error_of, not_ours
from search.client.calls import Call, T

_CONNECT_SECONDS = 5.0
_FAILURES = 4
"""Connections that may fail: under a second with the waits between them."""
_FIRST_WAIT = 0.1
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Nothing has arrived anywhere, so that a call that changes something may be sent again too."""


class Tries:
    """The tries of one call, `seconds` for all of them together."""

    def __init__(self, url: str, *, changes: bool, seconds: float) -> None:
        self._url = url
        self._changes = changes
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._failures = 0

    def timeout(self) -> httpx.Timeout:
        """For the next try."""
        left = max(self._deadline - time.monotonic(), 0.01)
        return httpx.Timeout(left, connect=min(left, _CONNECT_SECONDS))

    def wait_after(self, failure: httpx.RequestError | M3Error) -> float:
        """Seconds after which to try again; raises what the caller is told if that is no use."""
        # Spread out, so that callers refused together do not come back together.
        wait = self._wait(failure) * random.uniform(1.0, 1.25)  # noqa: S311
        if time.monotonic() + wait > self._deadline:
            if isinstance(failure, M3Error):
                raise failure
            raise self._told(failure) from failure
        return wait

    def _wait(self, failure: httpx.RequestError | M3Error) -> float:
        """Infinite for what is not tried again."""
        if isinstance(failure, Overloaded):
            return failure.retry_after
        if isinstance(failure, M3Error | httpx.ReadTimeout | httpx.WriteTimeout):
            return inf
        if self._changes and not isinstance(failure, _UNSENT):
            return inf
        self._failures += 1
        return inf if self._failures == _FAILURES else _FIRST_WAIT * 2 ** (self._failures - 1)

    def _told(self, failure: httpx.RequestError) -> Unreachable:
        if isinstance(failure, httpx.ReadTimeout | httpx.WriteTimeout):
            return DeadlineExceeded(
                f"the search API at {self._url} did not answer within {self._seconds:g} s: "
                "allow it more, or ask for less"
            )
        reason = str(failure) or type(failure).__name__
        return Unreachable(
            f"no search API answers at {self._url} ({reason}): start it with `m3-search serve`"
        )


def answered(url: str, call: Call[T], answer: httpx.Response) -> T:
    """The answer as a value. Raises M3Error for any other."""
    if not answer.is_success:
        raise error_of(url, answer)
    try:
        return call.read(answer.content)
    except ReadError as error:
        raise not_ours(url, f"{call.path} answers what it should not") from error
