"""How many requests are under way, against fleets whose queues are simulated."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import anyio
import pytest

from embedder.client import Load
from ingest.running.fleet import REQUEST_TOKENS, Fleet, Leave
from tests.ingest.virtual_time import BACKEND

pytestmark = pytest.mark.anyio
TICK = 0.001


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return BACKEND


@dataclass
class Nodes:
    """Nodes that each compute one request at a time, behind a balancer that counts requests.

    Attributes:
        ticks: that a request takes.
        idle: ticks of nodes that had nothing to do.
    """

    count: int
    ticks: int = 10
    tells: bool = True
    full_at: int = 10**9
    idle: int = 0
    most: int = 0
    refused: int = 0
    queues: list[deque[anyio.Event]] = field(default_factory=list[deque[anyio.Event]])

    def __post_init__(self) -> None:
        self.queues = [deque() for _ in range(self.count)]

    async def work(self) -> None:
        async def one(queue: deque[anyio.Event]) -> None:
            while True:
                if queue:
                    await anyio.sleep(self.ticks * TICK)
                    queue.popleft().set()
                else:
                    self.idle += 1
                    await anyio.sleep(TICK)

        async with anyio.create_task_group() as tasks:
            for queue in self.queues:
                tasks.start_soon(one, queue)

    async def answer(self, fleet: Fleet, leave: Leave) -> None:
        self.most = max(self.most, sum(map(len, self.queues)))
        queue = min(self.queues, key=len)
        while len(queue) >= self.full_at:
            self.refused += 1
            fleet.told(leave, self._load(queue, full=True))
            await anyio.sleep(self.ticks * TICK)
        done = anyio.Event()
        queue.append(done)
        await done.wait()
        if self.tells:
            fleet.told(leave, self._load(queue))

    def _load(self, queue: deque[anyio.Event], *, full: bool = False) -> Load:
        waiting = max(len(queue) - 1, 0)
        return Load(waiting * REQUEST_TOKENS, waiting * 1.0, full)


async def send(fleet: Fleet, nodes: Nodes, count: int) -> None:
    async def one(leave: Leave) -> None:
        async with fleet.request(leave):
            await nodes.answer(fleet, leave)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(nodes.work)
        async with anyio.create_task_group() as requests:
            for _ in range(count):
                requests.start_soon(one, await fleet.leave())
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("count", [1, 3, 12])
async def test_every_node_has_one_to_do_and_few_that_wait(count: int):
    nodes, fleet = Nodes(count), Fleet(anyio.current_time)
    await send(fleet, nodes, 50 * count)
    nodes.idle, nodes.most = 0, 0
    await send(fleet, nodes, 30 * count)
    assert count * 1.5 <= fleet.size <= count * 4 + 1
    assert nodes.most <= count * 5
    assert nodes.idle <= count * 30, "idle at the beginning and at the end, not between"


async def test_nodes_that_leave_get_less():
    nodes, fleet = Nodes(12), Fleet(anyio.current_time)
    await send(fleet, nodes, 400)
    before = fleet.size
    few = Nodes(2)
    await send(fleet, few, 100)
    assert fleet.size <= 9 < before


async def test_a_refusal_halves_once_for_all_that_were_under_way():
    now = 0.0
    fleet = Fleet(now=lambda: now)
    leaves = [await fleet.leave()]
    for _ in range(30):
        leaves.append(await fleet.leave())
        now += 1
        fleet.told(leaves[-1], Load(0, 0.0))
    size = fleet.size
    assert size > 16
    now += 1
    for leave in leaves:
        fleet.told(leave, Load(9 * REQUEST_TOKENS, 9.0, full=True))
    assert fleet.size == size // 2
    now += 1
    for leave in leaves:
        fleet.give_back(leave)
    fleet.told(await fleet.leave(), Load(9 * REQUEST_TOKENS, 9.0, full=True))
    assert fleet.size == size // 4


async def test_full_nodes_are_left_in_peace():
    nodes, fleet = Nodes(2, full_at=2), Fleet(anyio.current_time)
    await send(fleet, nodes, 200)
    assert nodes.refused < 60
    assert fleet.size >= 1


async def test_what_is_not_used_does_not_grow():
    fleet = Fleet()
    for _ in range(50):
        leave = await fleet.leave()
        async with fleet.request(leave):
            fleet.told(leave, Load(0, 0.0))
    assert fleet.size == 2


async def test_servers_that_tell_nothing_are_judged_by_time():
    now = 0.0
    fleet = Fleet(now=lambda: now)

    async def answered(seconds: float) -> None:
        nonlocal now
        leaves = [await fleet.leave() for _ in range(fleet.size)]
        now += seconds
        for leave in leaves:
            async with fleet.request(leave):
                pass

    for _ in range(30):
        await answered(0.1)
    assert fleet.size == 16
    for _ in range(9):
        await answered(20)
    assert fleet.size == 1


async def test_a_request_that_fails_gives_its_leave_back():
    fleet = Fleet()
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            async with fleet.request(await fleet.leave()):
                raise ZeroDivisionError
    with anyio.fail_after(1):
        await fleet.leave()
        await fleet.leave()
