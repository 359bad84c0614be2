"""Three nodes behind each shipped edge, under load: killed, restarted, hung, added, removed.

What fails is counted at our client with its default retries; a raw client's figures stand beside.
The nodes serve the stand-in; with DRILL_NODES=sleeping their workers sleep, for busy machines.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from tests.drills.callers import Call, Calls, between, calling, failures, p99
from tests.drills.conftest import Tell
from tests.drills.nodes import NodeProcess, Nodes, Started, sleepers, stand_ins
from tests.edges import Edge, haproxy, nginx

pytestmark = [pytest.mark.drill, pytest.mark.anyio, pytest.mark.timeout(400)]

SEED = int(os.environ.get("DRILL_SEED", "0"))
KILLS, STOP_SECONDS = int(os.environ.get("DRILL_KILLS", "20")), 30.0
EJECTED_WITHIN = 5.0
"""Seconds from SIGSTOP until an edge gives the node nothing more."""
SHARE_WITHIN = 15.0
DRAIN = {"M3_DRAIN_SECONDS": "5", "M3_MAX_QUEUE_SECONDS": "8"}
NO_RETRY = {
    "nginx": [("proxy_next_upstream error timeout", "proxy_next_upstream off; #")],
    "haproxy": [("retry-on conn-failure", "# "), ("retries 3", "retries 0")],
}


class Starts(Protocol):
    """An edge of a kind."""

    def __call__(
        self, folder: Path, nodes: list[str], *, changes: list[tuple[str, str]] = ...
    ) -> AbstractContextManager[Edge]: ...


EDGES: dict[str, Starts] = {"nginx": partial(nginx, watched=True), "haproxy": haproxy}


@pytest.fixture(params=EDGES)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def three(home: Path, request: pytest.FixtureRequest, **settings: str) -> Started:
    if os.environ.get("DRILL_NODES") == "sleeping":
        return sleepers(3, home, 20_000, **settings)
    return stand_ins(3, request.getfixturevalue("stand_in"), home, **settings)


@pytest.fixture
async def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Nodes]:
    with three(tmp_path / "home", request, **DRAIN) as started:
        await started.start()
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "edge").mkdir()
    return tmp_path / "edge"


@pytest.fixture
def edge(kind: str, folder: Path, nodes: Nodes) -> Iterator[Edge]:
    with EDGES[kind](folder, nodes.addresses) as started:
        yield started


async def test_kill_a_node_again_and_again(edge, nodes, tell: Tell):
    async with calling(edge.url, ours=8, raw=4) as calls:
        await kill(nodes, KILLS)
    tell(**counted(calls))
    assert len(calls.ours) > 10 * KILLS
    assert not Counter(failures(calls.ours))


async def test_without_retries_kills_are_felt(kind, folder, nodes, tell: Tell):
    """The drill of kills notices: neither the edge nor the caller sends a request again."""
    with EDGES[kind](folder, nodes.addresses, changes=NO_RETRY[kind]) as edge:
        async with calling(edge.url, ours=0, raw=12) as calls:
            await kill(nodes, KILLS // 4)
    tell(calls=len(calls.raw), raw=len(failures(calls.raw)))
    assert failures(calls.raw)


async def kill(nodes: Nodes, times: int) -> None:
    """`kill -9`, seeded, at any moment of one of those that are ready; another is left."""
    rng = random.Random(SEED)
    for _ in range(times):
        ready = await two_or_more(nodes)
        # An edge, too, has to have seen that they are.
        await asyncio.sleep(rng.uniform(1.5, 2.5))
        node = rng.choice(ready)
        await asyncio.to_thread(node.kill)
        node.start()


async def two_or_more(nodes: Nodes) -> list[NodeProcess]:
    """Those that are ready, once they are two."""
    while True:
        ready = [node for node in nodes.all if await node.is_ready()]
        if len(ready) >= 2:
            return ready
        await asyncio.sleep(0.2)


async def test_restart_all_one_after_the_other(edge, nodes, tell: Tell):
    async with calling(edge.url, ours=8, raw=4) as calls:
        await restart_all(nodes, 2)
    tell(**counted(calls))
    assert not Counter(failures(calls.ours))


async def test_a_long_fail_timeout_makes_a_restart_an_outage(request, tmp_path, folder, tell: Tell):
    """The drill of restarts notices: no drain, no active checks, and the guides' 30 s."""
    with (
        three(tmp_path / "home", request, M3_DRAIN_SECONDS="0") as nodes,
        nginx(folder, nodes.addresses, fail_timeout="30s") as edge,
    ):
        await nodes.start()
        async with calling(edge.url, ours=8, raw=4) as calls:
            await restart_all(nodes, 1)
            await asyncio.sleep(5)
    tell(**counted(calls))
    assert failures(calls.ours)


async def restart_all(nodes: Nodes, times: int) -> None:
    """A deployment's roll: the next is told to end a second after the last is ready."""
    for _ in range(times):
        for node in nodes.all:
            assert await node.end() == 0
            node.start()
            await node.ready()
            await asyncio.sleep(1)


async def test_a_node_hangs(edge, nodes, tell: Tell):
    # Few: two cores and two nodes have to answer them in well under a second.
    async with calling(edge.url, ours=3, raw=1) as calls:
        stopped = await hang(nodes)
    after = left(calls, stopped)
    tell(**counted(calls), p99_ms=1e3 * p99(after))
    assert not Counter(failures(calls.ours))
    assert len(after) > 100
    assert p99(after) < 1


async def test_a_node_hangs_and_the_others_have_much_to_do(edge, nodes, tell: Tell):
    """They answer as quickly as where the third was never there, if not within a second."""
    async with calling(edge.url, ours=8, raw=4) as calls:
        began, ended = await without_the_first(nodes)
        stopped = await hang(nodes)
    alone, after = between(calls.ours, began, ended), left(calls, stopped)
    tell(**counted(calls), p99_ms=1e3 * p99(after), p99_of_two_ms=1e3 * p99(alone))
    assert not Counter(failures(calls.ours))
    assert min(len(alone), len(after)) > 50
    assert p99(after) < 1.5 * p99(alone)


async def without_the_first(nodes: Nodes) -> tuple[float, float]:
    """From when to when the others have it all, as the first was ended in good order."""
    await asyncio.sleep(3)
    assert await nodes.all[0].end() == 0
    await asyncio.sleep(EJECTED_WITHIN)
    began = time.monotonic()
    await asyncio.sleep(STOP_SECONDS - EJECTED_WITHIN)
    ended = time.monotonic()
    nodes.all[0].start()
    await nodes.all[0].ready()
    # Known to the edge, and past its slow start.
    await asyncio.sleep(7)
    return began, ended


def left(calls: Calls, stopped: float) -> list[Call]:
    """Ours that began once the edge gave the stopped node nothing more."""
    return between(calls.ours, stopped + EJECTED_WITHIN, stopped + STOP_SECONDS)


def counted(calls: Calls) -> dict[str, int]:
    return {
        "calls": len(calls.ours),
        "failed": len(failures(calls.ours)),
        "raw": len(failures(calls.raw)),
    }


async def test_without_active_checks_a_hung_node_is_felt(nodes, folder, tell: Tell):
    """The drill of hung nodes notices: taking turns, callers hang at it one after the other.

    Without the watcher alone, fewest connections still leads away from a node that answers none.
    """
    with nginx(folder, nodes.addresses, changes=[("least_conn;", "")]) as edge:
        async with calling(edge.url, ours=8, raw=4) as calls:
            stopped = await hang(nodes)
    after = between(calls.ours, stopped, stopped + STOP_SECONDS)
    tell(calls=len(calls.ours), p99_ms=1e3 * p99(after))
    assert p99(after) > 1


async def hang(nodes: Nodes) -> float:
    """SIGSTOP of one node for its 30 s; when that was."""
    await asyncio.sleep(3)
    stopped = time.monotonic()
    nodes.all[0].freeze()
    await asyncio.sleep(STOP_SECONDS)
    nodes.all[0].thaw()
    await asyncio.sleep(3)
    return stopped


async def test_a_node_comes_and_goes(kind, nodes, folder, tell: Tell):
    first, second, third = nodes.addresses
    with EDGES[kind](folder, [first, second]) as edge:
        async with calling(edge.url, ours=8, raw=4) as calls:
            await asyncio.sleep(3)
            edge.list_nodes([first, second, third])
            share = await shared(edge, kind, third)
            edge.list_nodes([first, second])
            await asyncio.sleep(5)
            assert await nodes.all[2].end() == 0
            await asyncio.sleep(3)
    tell(**counted(calls), share=share)
    assert not Counter(failures(calls.ours))
    assert share > 0.25


async def test_an_edge_that_reads_no_list_gives_no_share(nodes, folder):
    """The drill of added nodes notices: nginx without its watcher."""
    first, second, third = nodes.addresses
    with nginx(folder, [first, second]) as edge:
        async with calling(edge.url, ours=8, raw=4):
            edge.list_nodes([first, second, third])
            assert await shared(edge, "nginx", third) == 0


async def shared(edge: Edge, kind: str, address: str) -> float:
    """The node's part of the requests in the last five of `SHARE_WITHIN` seconds."""
    await asyncio.sleep(SHARE_WITHIN - 5)
    before = len(edge.log().splitlines())
    await asyncio.sleep(5)
    mark = f'"nodes":"{address}"' if kind == "nginx" else '"node":"node3"'
    lines = edge.log().splitlines()[before:]
    answered = Counter(mark in line for line in lines if '"path":"/v1/encode"' in line)
    return answered[True] / answered.total()
