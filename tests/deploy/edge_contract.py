"""What both balancers do with the fleet's requests: `TestNginx` and `TestHaproxy` inherit it."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import httpx
import pytest

from serving.keys.editing import add_key
from tests.deploy.fake_nodes import Asked, FakeNode, Request, fake_nodes, fine
from tests.edges import Changes, Edge
from tests.pace import until

SHORT, LONG = b"x" * 100, b"x" * 20_000
PATIENCE = 60
"""Seconds that a caller and a test wait: long beside what anything here takes."""
UNHURRIED = (
    ("timeout check 1s", "timeout check 60s"),
    ("timeout server 25s", "timeout server 60s"),
)
"""A fake node answers HAProxy when this process gets to it."""


class Starts(Protocol):
    """`tests.edges.nginx` or `haproxy`."""

    def __call__(
        self, folder: Path, nodes: list[str], **options: Any
    ) -> AbstractContextManager[Edge]: ...


@dataclass(frozen=True, slots=True)
class Fleet:
    """An edge before fake nodes, and a caller."""

    edge: Edge
    nodes: list[FakeNode]
    client: httpx.Client

    def encode(self, body: bytes = SHORT, **headers: str) -> httpx.Response:
        return self.client.post("/v1/encode", content=body, headers=headers)

    @property
    def asked(self) -> list[Asked]:
        """What reached any node."""
        return [asked for node in self.nodes for asked in node.requests]

    def until_only(self, node: FakeNode) -> None:
        """Wait until that one gets all requests; none may fail meanwhile."""

        def all_went_there() -> bool:
            self.forget()
            assert {self.encode().status_code for _ in range(8)} == {200}
            return len(node.requests) == len(self.asked)

        until(all_went_there)

    def until_all(self) -> None:
        """Wait until all nodes get requests."""
        self.forget()
        for node in self.nodes:
            self.until_asked(node)

    def until_asked(self, node: FakeNode, body: bytes = SHORT) -> list[httpx.Response]:
        """The answers until that node was asked too: among equals, chance may choose a node."""
        answers: list[httpx.Response] = []
        deadline = time.monotonic() + PATIENCE
        while not node.requests:
            assert time.monotonic() < deadline
            answers.append(self.encode(body))
        return answers

    def forget(self) -> None:
        for node in self.nodes:
            node.requests = []

    def until_logged(self, request_id: str, lines: int = 1) -> list[str]:
        """What the edge says of requests, which it does once they are over, at its leisure."""
        found: list[str] = []

        def logged() -> bool:
            found[:] = [line for line in self.edge.log().splitlines() if request_id in line]
            return len(found) >= lines

        until(logged)
        return found


def hanging_up(edge: Edge) -> httpx.Client:
    """A client that keeps no connection.

    An edge closes idle ones when it reloads, at worst as a request arrives on one.
    """
    return httpx.Client(
        base_url=edge.url,
        trust_env=False,
        timeout=PATIENCE,
        limits=httpx.Limits(max_keepalive_connections=0),
    )


class EdgeContract:
    """Subclasses say which balancer, and how its limits are lowered for a test."""

    start: ClassVar[Starts]
    patient: ClassVar[Changes]
    """So that the drops of one test eject no node for the next."""
    three_requests: ClassVar[Changes]
    """A caller's limit."""

    @pytest.fixture(scope="class")
    @classmethod
    def running_fleet(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
        nodes = [FakeNode(), FakeNode()]
        folder = tmp_path_factory.mktemp("edge")
        with (
            fake_nodes(*nodes) as addresses,
            cls.start(folder, addresses, changes=cls.patient) as edge,
            httpx.Client(base_url=edge.url, trust_env=False, timeout=PATIENCE) as client,
        ):
            yield Fleet(edge, nodes, client)

    @pytest.fixture
    def fleet(self, running_fleet: Fleet) -> Fleet:
        """With both nodes in, which an earlier test may have ejected."""
        for node in running_fleet.nodes:
            node.answer, node.ready = fine, True
        running_fleet.until_all()
        running_fleet.forget()
        return running_fleet

    def test_what_a_node_drops_is_answered_by_the_other(self, fleet):
        fleet.nodes[0].answer = Request.hang_up
        answers = [*fleet.until_asked(fleet.nodes[0]), *(fleet.encode() for _ in range(5))]
        assert {answer.status_code for answer in answers} == {200}
        assert {asked.body for asked in fleet.asked} == {SHORT}

    def test_a_node_that_loads_is_passed_over(self, fleet):
        fleet.nodes[0].answer = lambda request: request.reply(503)
        answers = [*fleet.until_asked(fleet.nodes[0]), *(fleet.encode() for _ in range(5))]
        assert {answer.status_code for answer in answers} == {200}

    def test_a_refusal_is_passed_on_and_ejects_nobody(self, fleet):
        for node in fleet.nodes:
            node.answer = lambda request: request.reply(429, b"full", Retry_After="7")
        answers = [answer for node in fleet.nodes for answer in fleet.until_asked(node)]
        answers += [fleet.encode() for _ in range(12)]
        assert {answer.status_code for answer in answers} == {429}
        assert {answer.headers["retry-after"] for answer in answers} == {"7"}
        assert {answer.content for answer in answers} == {b"full"}
        assert len(fleet.asked) == len(answers)

    def test_only_the_interface_is_reachable(self, fleet):
        for path in ("/metrics", "/livez", "/readyz", "/docs", "/", "/long/v1/encode"):
            assert fleet.client.get(path).status_code == 404, path
        assert not fleet.asked
        assert fleet.client.get("/v1/models").status_code == 200
        assert fleet.client.post("/v2/rerank").status_code == 200

    def test_one_id_goes_through(self, fleet):
        fleet.encode(**{"X-Request-Id": "told-by-caller"})
        fleet.encode()
        ids = [asked.headers["X-Request-Id"] for asked in fleet.asked]
        assert "told-by-caller" in ids
        assert all(ids)
        fleet.until_logged('"request_id":"told-by-caller"')

    def test_nodes_are_told_whom_they_answer(self, fleet):
        fleet.encode(Authorization="Bearer key")
        (asked,) = fleet.asked
        assert asked.headers["X-Forwarded-For"] == "127.0.0.1"
        assert asked.headers["X-Forwarded-Proto"] == "http"
        assert asked.headers["Authorization"] == "Bearer key"

    def test_connections_to_nodes_are_kept(self, fleet):
        for _ in range(12):
            fleet.encode()
        assert len({asked.connection for asked in fleet.asked}) <= 6

    def test_bodies_have_a_size(self, fleet):
        answer = fleet.encode(b"x" * (33 * 2**20))
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
        assert not fleet.asked

    def test_a_long_text_goes_a_way_of_its_own(self, fleet):
        name = {"X-Request-Id": f"way-{time.time_ns()}"}
        fleet.encode(**name)
        fleet.encode(LONG, **name)
        fleet.client.post("/v1/encode", content=iter([SHORT]), headers=name)  # says no length
        lines = fleet.until_logged(name["X-Request-Id"], 3)
        ways = [line.partition('"way":"')[2].partition('"')[0] for line in lines]
        assert ways == ["short", "long", "long"]
        assert {asked.path for asked in fleet.asked} == {"/v1/encode"}

    def test_a_large_answer_flows_while_it_is_made(self, fleet):
        """The first megabyte is here before the last is written."""
        here, size = threading.Event(), 0
        flowed: list[bool] = []

        def slow(request: Request) -> None:
            request.send_response(200)
            request.send_header("Content-Length", str(2 * 2**20))
            request.end_headers()
            request.wfile.write(b"x" * 2**20)
            flowed.append(here.wait(15))
            request.wfile.write(b"y" * 2**20)

        for node in fleet.nodes:
            node.answer = slow
        with fleet.client.stream("POST", "/v1/encode", content=SHORT) as answer:
            for part in answer.iter_bytes():
                here.set()
                size += len(part)
        assert size == 2 * 2**20
        assert flowed == [True]

    def test_too_many_of_one_caller_are_refused(self, tmp_path):
        node = FakeNode()
        with (
            fake_nodes(node) as addresses,
            type(self).start(tmp_path, addresses, changes=self.three_requests) as edge,
            httpx.Client(base_url=edge.url, trust_env=False, timeout=PATIENCE) as client,
        ):
            answers = [client.post("/v1/encode", content=SHORT) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 3
        assert answers[-1].json()["code"] == "rate_limited"
        assert answers[-1].headers["retry-after"] == "1"
        assert len(node.requests) == 3

    def secured(self, folder: Path, line: str) -> None:
        """Beyond this machine: TLS, and a key as we make them, which stands in place of `KEY`."""
        node = FakeNode()
        key = add_key(folder / "keys", "search", scopes=["read"])
        keys = line.replace("KEY", key)
        with fake_nodes(node) as addresses, type(self).start(folder, addresses, keys=keys) as edge:
            context = ssl.create_default_context(cafile=str(edge.folder / "certificate.crt"))
            with httpx.Client(
                base_url=edge.url, verify=context, trust_env=False, timeout=PATIENCE
            ) as client:

                def called(authorization: str) -> httpx.Response:
                    headers = {"Authorization": authorization}
                    return client.post("/v1/encode", content=SHORT, headers=headers)

                without = client.post("/v1/encode", content=LONG)
                assert called(f"Bearer {key}2").status_code == 401
                assert called(f"Bearer {key}").status_code == 200
        assert (without.status_code, without.json()["code"]) == (401, "unauthorized")
        assert without.headers["www-authenticate"] == "Bearer"
        (asked,) = node.requests
        assert asked.headers["X-Forwarded-Proto"] == "https"
