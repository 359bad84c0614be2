"""deploy/haproxy as it is, run by HAProxy in front of small nodes."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.deploy.edge_contract import (
    LONG,
    PATIENCE,
    SHORT,
    UNHURRIED,
    EdgeContract,
    Fleet,
    hanging_up,
)
from tests.deploy.fake_nodes import FakeNode, Request, fake_nodes, fine
from tests.edges import haproxy
from tests.pace import until


class TestHaproxy(EdgeContract):
    start = haproxy
    patient = (("error-limit 3 ", "error-limit 1000 "), *UNHURRIED)
    # In an hour, which no six requests take.
    three_requests = (
        ("gt 500", "gt 3"),
        ("http_req_rate(1s)", "http_req_rate(1h)"),
        ("expire 10s", "expire 1h"),
    )

    def test_beyond_this_machine_the_edge_wants_tls_and_a_key(self, tmp_path):
        self.secured(tmp_path, "Bearer KEY\n")

    def test_the_node_with_the_least_work_is_chosen(self, fleet):
        """One that has a long text gets no short one while the other has less to do."""
        finish = threading.Event()

        def work(request: Request) -> None:
            if len(request.body) == len(LONG):
                finish.wait(PATIENCE)
            else:
                time.sleep(0.02)
            request.reply(200)

        for node in fleet.nodes:
            node.answer = work
        url = f"{fleet.edge.url}/v1/encode"
        ask = {"content": LONG, "trust_env": False, "timeout": PATIENCE}
        long = threading.Thread(target=httpx.post, args=(url,), kwargs=ask)
        long.start()
        until(lambda: bool(fleet.asked))
        busy = next(node for node in fleet.nodes if node.requests)
        # Several at a time: the other has more connections than the busy one.
        with ThreadPoolExecutor(4) as callers:
            list(callers.map(fleet.encode, [SHORT] * 40))
        assert len(busy.requests) == 1
        finish.set()
        long.join()
        self.is_asked_again(busy, fleet)

    def test_work_is_taken_off_when_the_caller_leaves(self, fleet):
        over = threading.Event()
        for node in fleet.nodes:
            node.answer = lambda request: over.wait(PATIENCE)
        host, _, port = fleet.edge.address.partition(":")
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(
                b"POST /v1/encode HTTP/1.1\r\nHost: edge\r\nContent-Length: %d\r\n\r\n%b"
                % (len(LONG), LONG)
            )
            until(lambda: bool(fleet.asked))
        (left,) = [node for node in fleet.nodes if node.requests]
        for node in fleet.nodes:
            node.answer = fine
        self.is_asked_again(left, fleet)
        over.set()

    @staticmethod
    def is_asked_again(node: FakeNode, fleet: Fleet) -> None:
        """Its work is taken off, or it would get nothing while the other has less."""
        node.requests = []
        # So few that a long text still outweighs all that went to the other, were none taken off.
        for _ in range(25):
            fleet.encode()
            if node.requests:
                return
            time.sleep(0.1)
        pytest.fail("its work was not taken off again")


def test_a_node_that_ends_finishes_what_it_has(tmp_path):
    begun, finish = threading.Event(), threading.Event()
    quick = (("check inter 1s", "check inter 100ms"), *UNHURRIED)

    def work(request: Request) -> None:
        if begun.is_set():
            fine(request)
            return
        begun.set()
        finish.wait(PATIENCE)
        request.reply(200, b"finished")

    nodes = [FakeNode(answer=work), FakeNode(answer=work)]
    with (
        fake_nodes(*nodes),
        haproxy(tmp_path, [node.address for node in nodes], changes=quick) as edge,
        httpx.Client(base_url=edge.url, trust_env=False, timeout=PATIENCE) as client,
        ThreadPoolExecutor(1) as caller,
    ):
        fleet = Fleet(edge, nodes, client)
        answer = caller.submit(fleet.encode)
        assert begun.wait(PATIENCE)
        ending, other = sorted(nodes, key=lambda node: not node.requests)
        ending.ready = False
        fleet.until_only(other)
        # More checks than it takes to count a node as gone, which are `fall`.
        checks = ending.probes + 5
        until(lambda: ending.probes > checks)
        assert not answer.done()
        finish.set()
        assert answer.result().content == b"finished"


UNLIMITED = (("rate gt 500", "rate gt 1000000"), ("cur gt 1024", "cur gt 1000000"))


def test_callers_that_hang_up_do_it_no_harm(tmp_path):
    """By the thousand, beside others: the count of work under way is Lua's, in every thread."""
    with (
        fake_nodes(FakeNode(), FakeNode()) as addresses,
        haproxy(tmp_path, addresses, changes=(*UNHURRIED, *UNLIMITED)) as edge,
    ):

        def call(number: int) -> bytes:
            host, _, port = edge.address.partition(":")
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
                connection.sendall(b"POST /v1/encode HTTP/1.1\r\nHost: localhost\r\n")
                connection.sendall(b"Content-Length: 5\r\n\r\nhello")
                return b"HTTP/1.1 200" if number % 2 else connection.recv(12)

        with ThreadPoolExecutor(16) as callers:
            assert set(callers.map(call, range(4000))) == {b"HTTP/1.1 200"}
        assert "runtime error" not in edge.log()


def test_nodes_come_and_go_by_their_file_and_by_readyz(tmp_path):
    first, second = nodes = [FakeNode(), FakeNode()]
    with (
        fake_nodes(*nodes),
        haproxy(tmp_path, [first.address], changes=UNHURRIED) as edge,
        hanging_up(edge) as client,
    ):
        fleet = Fleet(edge, nodes, client)
        fleet.until_only(first)
        edge.list_nodes([first.address, second.address])
        fleet.until_all()
        first.ready = False
        fleet.until_only(second)
