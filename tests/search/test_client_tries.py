"""What a client sends again, and what it never does; both clients alike."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from m3.errors import DeadlineExceeded, M3Error, Overloaded, RateLimited, Unreachable
from search.client import AsyncSearchClient, SearchClient

FOUND = {
    "hits": [],
    "timings_ms": dict.fromkeys(("embed", "retrieve", "rerank", "total"), 1.0),
    "degraded": [],
    "page": None,
    "of a newer server": True,
}
WRITTEN = {"outcome": "created", "chunks": 1}
Step = httpx.Response | type[httpx.TransportError]


def ok(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=WRITTEN if request.method == "PUT" else FOUND)


def limited(seconds: str) -> httpx.Response:
    problem = {"code": "rate_limited", "detail": "slow down", "request_id": "r"}
    return httpx.Response(429, json=problem, headers={"Retry-After": seconds})


class Network:
    """Does what it is told to, once each, and then answers."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.asked = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if not self.steps:
            return ok(request)
        step = self.steps.pop(0)
        if isinstance(step, httpx.Response):
            return step
        raise step("no network", request=request)


@pytest.fixture(params=["blocking", "concurrent"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Asks one thing of a client over a network."""
    kind = SearchClient if request.param == "blocking" else AsyncSearchClient

    def ask(network: Network, name: str, *arguments: Any, timeout: float = 60.0) -> Any:
        client = kind("http://api", transport=httpx.MockTransport(network), timeout=timeout)
        method = getattr(client, name)
        if inspect.iscoroutinefunction(method):
            return asyncio.run(method(*arguments))
        return method(*arguments)

    return ask


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that clients would have waited."""
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("search.client.blocking.time.sleep", waited.append)
    monkeypatch.setattr("search.client.concurrent.asyncio.sleep", wait)
    return waited


READ = ("search", "q", "docs")
WRITE = ("put_document", "docs", "x", "words")


@pytest.mark.parametrize("call", [READ, WRITE])
def test_a_refusal_is_waited_for(ask, waits, call):
    network = Network(limited("2"), limited("0"))
    ask(network, *call)
    assert network.asked == 3
    assert 2 <= waits[0] <= 2.5
    assert waits[1] == 0


def test_a_refusal_for_longer_than_there_is_time_is_told(ask, waits):
    network = Network(limited("5"))
    with pytest.raises(RateLimited, match="slow down") as caught:
        ask(network, *READ, timeout=4.0)
    assert (network.asked, waits) == (1, [])
    assert isinstance(caught.value, Overloaded)
    assert (caught.value.retry_after, caught.value.request_id) == (5, "r")


def test_a_refusal_is_told_if_the_time_is_up_before_the_wait_is(ask, waits, monkeypatch):
    monkeypatch.setattr("search.client.tries.random.uniform", max)
    network = Network(limited("5"))
    with pytest.raises(RateLimited):
        ask(network, *READ, timeout=5.5)
    assert (network.asked, waits) == (1, [])


@pytest.mark.parametrize("call", [READ, WRITE])
def test_what_was_never_sent_is_sent_again(ask, waits, call):
    network = Network(httpx.ConnectError, httpx.ConnectTimeout, httpx.ConnectError)
    ask(network, *call)
    assert network.asked == 4
    assert waits == sorted(waits)


def test_what_may_have_arrived_is_sent_again_only_if_it_changes_nothing(ask, waits):
    read, write = Network(httpx.ReadError), Network(httpx.ReadError)
    ask(read, *READ)
    assert read.asked == 2
    with pytest.raises(Unreachable, match="no search API answers at http://api"):
        ask(write, *WRITE)
    assert write.asked == 1


def test_nobody_is_asked_for_ever(ask, waits):
    network = Network(*[httpx.ConnectError] * 9)
    with pytest.raises(Unreachable, match="start it with `m3-search serve`"):
        ask(network, *READ)
    assert network.asked == 4


def test_a_late_answer_is_not_asked_for_again(ask, waits):
    network = Network(httpx.ReadTimeout)
    with pytest.raises(DeadlineExceeded, match=r"did not answer within 1.5 s"):
        ask(network, *READ, timeout=1.5)
    assert network.asked == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            {"status_code": 502, "text": "<html>bad gateway</html>"},
            "is not a search API: status 502",
        ),
        ({"status_code": 404, "json": {"error": "x"}}, "is not a search API: status 404"),
        ({"status_code": 302, "headers": {"Location": "/login"}}, "status 302"),
        ({"status_code": 200, "text": "hello"}, "/v1/search answers what it should not"),
        ({"status_code": 200, "json": {"hits": 5}}, "/v1/search answers what it should not"),
    ],
)
def test_what_is_no_search_api_is_told(ask, answer, words):
    with pytest.raises(Unreachable, match=words):
        ask(Network(httpx.Response(**answer)), *READ)


def test_a_code_of_a_newer_server_is_an_error_all_the_same(ask):
    problem = {"code": "of_later", "detail": "something else", "request_id": "r"}
    with pytest.raises(M3Error, match="something else") as caught:
        ask(Network(httpx.Response(418, json=problem)), *READ)
    assert caught.value.request_id == "r"
