"""How much each key may ask of this process: a token bucket, and a count of what is under way."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter

from m3.errors import RateLimited
from serving.keys.key import Key, Limits

_MOST_NAMES = 200
"""Keys that are counted under their own names; a time series is kept for each."""


class _Account:
    """What one key has had of late."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self.under_way = 0
        self._tokens = float(limits.burst)
        self._at = now

    def take(self, now: float) -> None:
        """Raises RateLimited, and takes nothing then."""
        limits = self.limits
        if limits.concurrency is not None and self.under_way >= limits.concurrency:
            raise RateLimited(
                f"this key has {limits.concurrency} requests under way, as many as it may: "
                "wait for an answer"
            )
        if limits.rate is None:
            return
        self._tokens = min(limits.burst, self._tokens + (now - self._at) * limits.rate)
        self._at = now
        if self._tokens < 1:
            raise RateLimited(
                f"this key may ask {limits.rate:g} times a second, {limits.burst} at once: "
                "slow down",
                (1 - self._tokens) / limits.rate,
            )
        self._tokens -= 1


class Rates:
    """An account for each key by its name, so that a key may be renewed but not doubled."""

    def __init__(
        self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._named: set[str] = set()
        self._requests = Counter(
            "m3_key_requests",
            "Requests by the name of their key, let through or limited.",
            ("key", "outcome"),
            registry=registry,
        )

    @contextmanager
    def within(self, key: Key) -> Generator[None]:
        """For as long as a request of this key is under way.

        Raises:
            RateLimited: it is one too many.
        """
        account = self._account(key)
        try:
            account.take(self._clock())
        except RateLimited:
            self._count(key, "limited")
            raise
        self._count(key, "admitted")
        account.under_way += 1
        try:
            yield
        finally:
            account.under_way -= 1

    def _account(self, key: Key) -> _Account:
        account = self._accounts.get(key.name)
        if account is None:
            account = self._accounts[key.name] = _Account(key.limits, self._clock())
        account.limits = key.limits
        return account

    def _count(self, key: Key, outcome: str) -> None:
        if len(self._named) < _MOST_NAMES:
            self._named.add(key.name)
        name = key.name if key.name in self._named else "others"
        self._requests.labels(name, outcome).inc()
