"""Limits of a key: over HTTP, and the bucket held against its definition."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from m3.errors import NotFound, RateLimited
from m3.settings import Settings
from serving.application import create_app
from serving.keys.key import Key, Limits
from serving.keys.rates import Rates
from serving.strict import router
from tests.pace import Clock
from tests.serving.keys import bearing, keys_file, line

pytestmark = pytest.mark.anyio


def key(name: str = "k", **limits: float) -> Key:
    return Key(name, b"", limits=Limits(**limits))


def asked(rates: Rates, key: Key) -> bool:
    try:
        with rates.within(key):
            return True
    except RateLimited:
        return False


@given(
    st.floats(0.1, 50),
    st.integers(1, 20),
    st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_no_window_holds_more_than_burst_and_rate_allow(rate, burst, waits):
    clock = Clock()
    rates = Rates(CollectorRegistry(), clock)
    admitted: list[float] = []
    for wait in waits:
        clock.now += wait
        if asked(rates, key(rate=rate, burst=burst)):
            admitted.append(clock.now)
    for i, began in enumerate(admitted):
        for j, ended in enumerate(admitted[i:], 1):
            assert j <= burst + rate * (ended - began) + 1e-6


@given(st.floats(0.1, 50), st.integers(1, 20))
def test_after_the_wait_that_is_told_there_is_room(rate, burst):
    clock = Clock()
    rates = Rates(CollectorRegistry(), clock)
    limited = key(rate=rate, burst=burst)
    assert [asked(rates, limited) for _ in range(burst + 1)] == [True] * burst + [False]
    with pytest.raises(RateLimited) as caught, rates.within(limited):
        pass
    clock.now += caught.value.retry_after + 1e-6
    assert asked(rates, limited)


def test_keys_do_not_share_and_new_limits_hold_at_once():
    clock = Clock()
    rates = Rates(CollectorRegistry(), clock)
    one, two = key("one", rate=1, burst=1), key("two", rate=1, burst=1)
    assert [asked(rates, one), asked(rates, one), asked(rates, two)] == [True, False, True]
    assert asked(rates, key("one"))
    assert not asked(rates, one)


def test_what_is_under_way_is_counted_until_it_ends_however_it_ends():
    rates = Rates(CollectorRegistry())
    one = key(concurrency=1, rate=100, burst=100)
    with rates.within(one):
        assert not asked(rates, one)
    with pytest.raises(NotFound), rates.within(one):
        raise NotFound
    assert asked(rates, one)


def test_time_series_are_bounded_however_many_keys_there_are():
    registry = CollectorRegistry()
    rates = Rates(registry)
    for i in range(1000):
        asked(rates, key(f"key{i}"))
    lines = [each for each in generate_latest(registry).decode().splitlines() if "_total{" in each]
    assert len(lines) == 201
    assert 'm3_key_requests_total{key="others",outcome="admitted"} 800.0' in lines


@dataclass(frozen=True)
class Slow:
    """A route's requests: each is told of as it begins, and all are answered once it is said."""

    begun: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self) -> int:
        self.begun.release()
        await self.done.wait()
        return 1


def small(tmp_path: Path, *lines: str) -> tuple[FastAPI, Slow]:
    app = create_app(
        title="small",
        description="",
        settings=Settings(api_keys_file=keys_file(tmp_path / "keys", *lines)),
    )
    routes, slow = router(), Slow()

    @routes.get("/quick")
    async def quick() -> int:
        return 1

    @routes.get("/slow")
    async def wait() -> int:
        return await slow()

    app.include_router(routes)
    return app, slow


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")


async def test_a_key_over_its_rate_is_told_when_to_come_back(tmp_path):
    app, _ = small(tmp_path, line("a", rate=0.001, burst=2), line("b"))
    async with client_of(app) as client:
        answers = [await client.get("/quick", headers=bearing("a")) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].json()["code"] == "rate_limited"
        # A test may take 300 s.
        assert 700 <= int(answers[2].headers["retry-after"]) <= 1000
        assert "x-request-id" in answers[2].headers
        for free in (bearing("b"), bearing("b")):
            assert (await client.get("/quick", headers=free)).status_code == 200
        # Who shows no key is not told whose limits are reached.
        assert (await client.get("/quick")).status_code == 401
        assert (await client.get("/livez", headers=bearing("a"))).status_code == 200
        metrics = (await client.get("/metrics")).text
        assert 'm3_key_requests_total{key="a",outcome="admitted"} 2.0' in metrics
        assert 'm3_key_requests_total{key="a",outcome="limited"} 1.0' in metrics


async def test_a_key_has_so_many_requests_under_way_and_no_more(tmp_path):
    app, slow = small(tmp_path, line("a", concurrency=2), line("b"))
    async with client_of(app) as client:
        asked = [asyncio.create_task(client.get("/slow", headers=bearing("a"))) for _ in range(2)]
        for _ in asked:
            await slow.begun.acquire()
        refused = await client.get("/quick", headers=bearing("a"))
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.headers["retry-after"] == "1"
        assert (await client.get("/quick", headers=bearing("b"))).status_code == 200
        slow.done.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
        assert (await client.get("/quick", headers=bearing("a"))).status_code == 200


async def test_a_request_whose_caller_hangs_up_is_not_under_way(tmp_path):
    app, slow = small(tmp_path, line("a", concurrency=1))
    async with client_of(app) as client:
        asked = asyncio.create_task(client.get("/slow", headers=bearing("a")))
        await slow.begun.acquire()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert (await client.get("/quick", headers=bearing("a"))).status_code == 200
