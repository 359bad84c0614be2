"""deploy/haproxy as it is, in front of small nodes: what it retries, refuses, chooses."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.deploy.fake_nodes import FakeNode, Request, fake_nodes, fine
from tests.edges import Edge, haproxy

SHORT, LONG = b"x" * 100, b"x" * 20_000


@dataclass(frozen=True, slots=True)
class Fleet:
    edge: Edge
    nodes: list[FakeNode]
    client: httpx.Client


@pytest.fixture(scope="module")
def running_fleet(tmp_path_factory) -> Iterator[Fleet]:
    nodes = [FakeNode(), FakeNode()]
    # A test that drops connections would else wait for the next checks.
    changes = [("error-limit 3 on-error mark-down", "error-limit 1000 on-error mark-down")]
    with (
        fake_nodes(*nodes) as addresses,
        haproxy(tmp_path_factory.mktemp("haproxy"), addresses, changes=changes) as edge,
        httpx.Client(base_url=edge.url, trust_env=False, timeout=10) as client,
    ):
        yield Fleet(edge, nodes, client)


@pytest.fixture
def fleet(running_fleet: Fleet) -> Fleet:
    """With both nodes in, which an earlier test may have ejected."""
    for node in running_fleet.nodes:
        node.answer, node.ready, node.requests = fine, True, []
    deadline = time.monotonic() + 5
    while not all(node.requests for node in running_fleet.nodes):
        assert time.monotonic() < deadline
        encode(running_fleet)
    for node in running_fleet.nodes:
        node.requests = []
    return running_fleet


def encode(fleet: Fleet, body: bytes = SHORT, **headers: str) -> httpx.Response:
    return fleet.client.post("/v1/encode", content=body, headers=headers)


def asked(fleet: Fleet) -> int:
    return sum(len(node.requests) for node in fleet.nodes)


def test_what_a_node_drops_is_answered_by_the_other(fleet):
    fleet.nodes[0].answer = Request.hang_up
    assert [encode(fleet).status_code for _ in range(6)] == [200] * 6
    assert fleet.nodes[0].requests


def test_a_node_that_loads_is_passed_over(fleet):
    fleet.nodes[0].answer = lambda request: request.reply(503)
    assert [encode(fleet).status_code for _ in range(6)] == [200] * 6


def test_a_refusal_is_passed_on_and_ejects_nobody(fleet):
    for node in fleet.nodes:
        node.answer = lambda request: request.reply(429, b"full", Retry_After="7")
    answers = [encode(fleet) for _ in range(12)]
    assert {answer.status_code for answer in answers} == {429}
    assert {answer.headers["retry-after"] for answer in answers} == {"7"}
    assert asked(fleet) == 12
    assert all(node.requests for node in fleet.nodes)


def test_only_the_interface_is_reachable(fleet):
    for path in ("/metrics", "/livez", "/readyz", "/docs", "/"):
        assert fleet.client.get(path).status_code == 404, path
    assert asked(fleet) == 0
    assert fleet.client.get("/v1/models").status_code == 200
    assert fleet.client.post("/v2/rerank").status_code == 200


def test_one_id_goes_through_and_nodes_are_told_whom_they_answer(fleet):
    encode(fleet, **{"X-Request-Id": "told-by-caller", "Authorization": "Bearer key"})
    encode(fleet)
    requests = [request for node in fleet.nodes for request in node.requests]
    ids = [request.headers["X-Request-Id"] for request in requests]
    assert "told-by-caller" in ids
    assert all(ids)
    told = requests[ids.index("told-by-caller")].headers
    assert (told["X-Forwarded-For"], told["X-Forwarded-Proto"]) == ("127.0.0.1", "http")
    assert told["Authorization"] == "Bearer key"
    assert lines(fleet, "told-by-caller")[0]["status"] == 200


def test_bodies_have_a_size(fleet):
    answer = encode(fleet, b"x" * (33 * 2**20))
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert asked(fleet) == 0


def test_a_long_text_goes_a_way_of_its_own(fleet):
    name = {"X-Request-Id": "ways"}
    encode(fleet, **name)
    encode(fleet, LONG, **name)
    fleet.client.post("/v1/encode", content=iter([SHORT]), headers=name)  # says no length
    assert [line["way"] for line in lines(fleet, "ways")] == ["short", "long", "long"]


def test_the_node_with_the_least_work_is_chosen(fleet):
    """One that has a long text gets no short one while the other has less to do."""
    gate = threading.Event()

    def work(request: Request) -> None:
        if len(request.body) > 1000:
            gate.wait(5)
        request.reply(200)

    for node in fleet.nodes:
        node.answer = work
    long = threading.Thread(
        target=lambda: httpx.post(
            f"{fleet.edge.url}/v1/encode", content=LONG, trust_env=False, timeout=10
        )
    )
    long.start()
    while not asked(fleet):
        time.sleep(0.01)
    busy = next(node for node in fleet.nodes if node.requests)
    for _ in range(20):
        encode(fleet)
    assert len(busy.requests) == 1
    gate.set()
    long.join()
    for _ in range(40):
        encode(fleet)
    assert len(busy.requests) > 5, "its work was not taken off again"


def test_work_is_taken_off_when_the_caller_leaves(fleet):
    for node in fleet.nodes:
        node.answer = lambda request: time.sleep(1)
    with pytest.raises(httpx.ReadTimeout):
        fleet.client.post("/v1/encode", content=LONG, timeout=0.2)
    (left,) = [node for node in fleet.nodes if node.requests]
    for node in fleet.nodes:
        node.answer = fine
    for _ in range(40):
        encode(fleet)
    assert len(left.requests) > 5


def test_too_many_of_one_caller_are_refused_by_the_edge(tmp_path):
    node = FakeNode()
    with (
        fake_nodes(node) as addresses,
        haproxy(tmp_path, addresses, changes=[("gt 500", "gt 3")]) as edge,
        httpx.Client(base_url=edge.url, trust_env=False) as client,
    ):
        answers = [client.post("/v1/encode", content=SHORT) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 3
    assert answers[-1].json()["code"] == "rate_limited"
    assert answers[-1].headers["retry-after"] == "1"
    assert len(node.requests) == 3


def test_beyond_this_machine_the_edge_wants_tls_and_a_key(tmp_path):
    node = FakeNode()
    with (
        fake_nodes(node) as addresses,
        haproxy(tmp_path, addresses, keys="Bearer secret\n") as edge,
    ):
        context = ssl.create_default_context(cafile=str(edge.folder / "certificate.crt"))
        with httpx.Client(base_url=edge.url, verify=context, trust_env=False) as client:

            def called(authorization: str) -> httpx.Response:
                headers = {"Authorization": authorization}
                return client.post("/v1/encode", content=SHORT, headers=headers)

            without = client.post("/v1/encode", content=SHORT)
            assert called("Bearer secret2").status_code == 401
            assert called("Bearer secret").status_code == 200
    assert (without.status_code, without.json()["code"]) == (401, "unauthorized")
    assert without.headers["www-authenticate"] == "Bearer"
    assert node.requests[0].headers["X-Forwarded-Proto"] == "https"


def test_nodes_come_and_go_by_their_file_and_by_readyz(tmp_path):
    first, second = FakeNode(), FakeNode()
    with (
        fake_nodes(first, second),
        haproxy(tmp_path, [first.address]) as edge,
        httpx.Client(base_url=edge.url, trust_env=False, timeout=10) as client,
    ):

        def until_only(node: FakeNode, other: FakeNode) -> None:
            deadline = time.monotonic() + 8
            while True:
                node.requests, other.requests = [], []
                for _ in range(8):
                    assert client.post("/v1/encode", content=SHORT).status_code == 200
                if node.requests and not other.requests:
                    return
                assert time.monotonic() < deadline
                time.sleep(0.1)

        until_only(first, second)
        edge.list_nodes([first.address, second.address])
        first.ready = False
        until_only(second, first)


def lines(fleet: Fleet, request_id: str) -> list[dict[str, object]]:
    """What the edge logged of a request."""
    time.sleep(0.1)
    written = [line for line in fleet.edge.log().splitlines() if line.startswith("{")]
    logged = [json.loads(line) for line in written]
    return [line for line in logged if line["request_id"] == request_id]
