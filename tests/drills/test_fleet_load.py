"""Three nodes behind each shipped edge with more, or with longer, than they can take.

Their workers sleep for as long as a device would compute, so that three of them have a device each
on a machine of two cores; all else is the node's own. With DRILL_NODES=stand-in those of overload
compute.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import httpx
import pytest

from bench.fleet import POLICIES, Work, by_chance, mix, simulate
from bench.load import p
from embedder.client import EmbedderClient
from m3.types import EmbeddingBatch
from tests.drills.arrivals import by_rate, closed
from tests.drills.conftest import Tell
from tests.drills.nodes import Nodes, Started, sleepers, stand_ins
from tests.drills.sleeping_worker import WORDS
from tests.edges import Edge, haproxy, nginx

pytestmark = [pytest.mark.drill, pytest.mark.anyio, pytest.mark.timeout(300)]

RATE = 1000.0
"""Tokens a second of a node."""
OFFERED, SECONDS, TOKENS = 2.0, 15.0, 100
SHORT, LONG, SHORTS, LOAD = 60, 6000, 100, 0.5
MIXED = 7 * (SHORTS + 1)
PLAIN = [("    use-server", "    # use-server")]
AGAIN_ELSEWHERE = [("http_503 non_idempotent", "http_503 http_429 non_idempotent")]
EDGES = {"nginx": partial(nginx, watched=True), "haproxy": haproxy}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "edge").mkdir()
    return tmp_path / "edge"


def three(home: Path, request: pytest.FixtureRequest, **settings: str) -> Started:
    if os.environ.get("DRILL_NODES") == "stand-in":
        return stand_ins(3, request.getfixturevalue("stand_in"), home, **settings)
    return sleepers(3, home, RATE, **settings)


@pytest.fixture
async def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Nodes]:
    with three(tmp_path / "home", request, M3_MAX_QUEUE_SECONDS="2") as started:
        await started.start()
        yield started


@pytest.mark.parametrize("kind", EDGES)
async def test_twice_what_they_can_do(kind, nodes, folder, tell: Tell):
    with EDGES[kind](folder, nodes.addresses) as edge:
        statuses, goodput = await overload(edge)
        busy = await last_asked(edge, nodes)
    tell(goodput=goodput, **{str(status): count for status, count in statuses.items()})
    assert set(statuses) == {200, 429}
    assert goodput >= 0.85
    assert busy == set(nodes.addresses)


async def test_refusals_sent_elsewhere_bring_the_fleet_down(nodes, folder, tell: Tell):
    """The drill of overload notices: nginx takes a 429 for a failure."""
    with nginx(folder, nodes.addresses, changes=AGAIN_ELSEWHERE) as edge:
        statuses, goodput = await overload(edge)
    tell(goodput=goodput, **{str(status): count for status, count in statuses.items()})
    assert set(statuses) - {200, 429} or goodput < 0.85


async def overload(edge: Edge) -> tuple[Counter[int], float]:
    """Answers by status, and what came in time as a share of the fleet's peak."""
    rng = random.Random(0)
    async with httpx.AsyncClient(base_url=edge.url, trust_env=False, timeout=30) as client:

        async def call() -> int:
            answer = await client.post("/v1/encode", json={"input": [text(TOKENS, rng)]})
            return answer.status_code

        await closed(call, at_once=24, seconds=3)
        peak = await closed(call, at_once=24, seconds=10)
        per_second = sum(status == 200 for status in peak) / 10
        began = time.monotonic()
        arrivals = by_chance(OFFERED * per_second, int(OFFERED * per_second * SECONDS), seed=0)
        sent = await by_rate(arrivals, [call] * len(arrivals))
    in_time = [one for one in sent if one.at + one.took - began <= SECONDS]
    statuses = Counter(one.result for one in sent)
    return statuses, sum(one.result == 200 for one in in_time) / SECONDS / per_second


async def last_asked(edge: Edge, nodes: Nodes) -> set[str]:
    """Nodes that are named in the log's last hundred lines."""
    await asyncio.sleep(0.5)
    names = {f"node{i}": address for i, address in enumerate(nodes.addresses, 1)}
    lines = [line for line in edge.log().splitlines() if '"path":"/v1/encode"' in line][-100:]
    return {
        address
        for name, address in names.items()
        if any(address in line or f'"node":"{name}"' in line for line in lines)
    }


async def test_one_long_text_among_a_hundred(tmp_path, tell: Tell):
    """The node with the least work against the one with the fewest connections, and both simulated.

    The second is the drill's run without its protection.
    """
    work = mixed()
    measured = {
        "least tokens": await p99_of(work, made(tmp_path / "aware"), []),
        "least connections": await p99_of(work, made(tmp_path / "plain"), PLAIN),
    }
    ratio = measured["least tokens"] / measured["least connections"]
    for name, seconds in measured.items():
        simulated = p99([took for took, _ in simulate(work, 3, POLICIES[name])])
        tell(choice=name, p99_ms=1e3 * seconds, simulated_ms=1e3 * simulated, ratio=ratio)
        assert abs(seconds - simulated) < 0.35 * simulated + 0.5
    assert ratio <= 0.6


def mixed() -> Work:
    lengths = mix(SHORTS, (SHORT, LONG), MIXED, seed=0)
    seconds = [tokens / RATE for tokens in lengths]
    rate = LOAD * 3 * MIXED / sum(seconds)
    return Work(by_chance(rate, MIXED, seed=0), lengths, seconds)


async def p99_of(work: Work, folder: Path, changes: list[tuple[str, str]]) -> float:
    """Seconds, of our client's calls through HAProxy; none may fail."""
    rng = random.Random(1)
    with (
        sleepers(3, folder / "home", RATE) as nodes,
        haproxy(folder, nodes.addresses, changes=changes) as edge,
    ):
        await nodes.start()
        # Checked, and past its slow start.
        await asyncio.sleep(7)
        async with EmbedderClient([edge.url]) as client:

            def call_of(tokens: int) -> Callable[[], Awaitable[EmbeddingBatch]]:
                # The model adds two.
                words = [text(tokens - 2, rng)]
                return lambda: client.encode(words, "passage", outputs=["dense"])

            sent = await by_rate(work.arrivals, [call_of(tokens) for tokens in work.tokens])
    return p99([one.took for one in sent])


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def p99(seconds: Sequence[float]) -> float:
    return p(seconds, 99)


def text(tokens: int, rng: random.Random) -> str:
    """So many words of the sleeping nodes, never the same twice."""
    return " ".join(rng.choices(list(WORDS), k=tokens))
