"""deploy/haproxy as it is, run by HAProxy in front of small nodes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.deploy.edge_contract import LONG, SHORT, EdgeContract, Fleet
from tests.deploy.fake_nodes import FakeNode, Request, fake_nodes, fine
from tests.edges import haproxy


class TestHaproxy(EdgeContract):
    start = haproxy
    patient = (("error-limit 3 ", "error-limit 1000 "),)
    three_requests = (("gt 500", "gt 3"),)

    def test_beyond_this_machine_the_edge_wants_tls_and_a_key(self, tmp_path):
        self.secured(tmp_path, "Bearer KEY\n")

    def test_the_node_with_the_least_work_is_chosen(self, fleet):
        """One that has a long text gets no short one while the other has less to do."""
        finish = threading.Event()

        def work(request: Request) -> None:
            if len(request.body) == len(LONG):
                finish.wait(5)
            else:
                time.sleep(0.02)
            request.reply(200)

        for node in fleet.nodes:
            node.answer = work
        url = f"{fleet.edge.url}/v1/encode"
        ask = {"content": LONG, "trust_env": False, "timeout": 10}
        long = threading.Thread(target=httpx.post, args=(url,), kwargs=ask)
        long.start()
        while not fleet.asked:
            time.sleep(0.01)
        busy = next(node for node in fleet.nodes if node.requests)
        # Several at a time: the other has more connections than the busy one.
        with ThreadPoolExecutor(4) as callers:
            list(callers.map(fleet.encode, [SHORT] * 40))
        assert len(busy.requests) == 1
        finish.set()
        long.join()
        for _ in range(40):
            fleet.encode()
        assert len(busy.requests) > 5, "its work was not taken off again"

    def test_work_is_taken_off_when_the_caller_leaves(self, fleet):
        for node in fleet.nodes:
            node.answer = lambda request: time.sleep(1)
        with pytest.raises(httpx.ReadTimeout):
            fleet.client.post("/v1/encode", content=LONG, timeout=0.2)
        (left,) = [node for node in fleet.nodes if node.requests]
        for node in fleet.nodes:
            node.answer = fine
        for _ in range(40):
            fleet.encode()
        assert len(left.requests) > 5


def test_a_node_that_ends_finishes_what_it_has(tmp_path):
    begun, finish = threading.Event(), threading.Event()

    def work(request: Request) -> None:
        if not begun.is_set():
            begun.set()
            finish.wait(20)
        request.reply(200)

    nodes = [FakeNode(answer=work), FakeNode(answer=work)]
    with (
        fake_nodes(*nodes),
        haproxy(tmp_path, [node.address for node in nodes]) as edge,
        httpx.Client(base_url=edge.url, trust_env=False, timeout=30) as client,
        ThreadPoolExecutor(1) as caller,
    ):
        fleet = Fleet(edge, nodes, client)
        answer = caller.submit(fleet.encode)
        assert begun.wait(10)
        ending, other = sorted(nodes, key=lambda node: not node.requests)
        ending.ready = False
        fleet.until_only(other)
        # Longer than it takes to count a node as gone, `fall` times `inter`.
        time.sleep(4)
        assert not answer.done()
        finish.set()
        assert answer.result().status_code == 200


def test_nodes_come_and_go_by_their_file_and_by_readyz(tmp_path):
    first, second = nodes = [FakeNode(), FakeNode()]
    with (
        fake_nodes(*nodes),
        haproxy(tmp_path, [first.address]) as edge,
        httpx.Client(base_url=edge.url, trust_env=False, timeout=10) as client,
    ):
        fleet = Fleet(edge, nodes, client)
        fleet.until_only(first)
        edge.list_nodes([first.address, second.address])
        fleet.until_all()
        first.ready = False
        fleet.until_only(second)
