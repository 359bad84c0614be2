"""deploy/nginx as it is, in front of small nodes: what it retries, passes on, refuses and hides."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.deploy.fake_nodes import FakeNode, Request, fake_nodes, fine
from tests.edges import Edge, free_ports, nginx

SHORT, LONG = b"x" * 100, b"x" * 20_000


@dataclass(frozen=True, slots=True)
class Fleet:
    edge: Edge
    nodes: list[FakeNode]
    client: httpx.Client


@pytest.fixture(scope="module")
def running_fleet(tmp_path_factory) -> Iterator[Fleet]:
    nodes = [FakeNode(), FakeNode()]
    folder = tmp_path_factory.mktemp("nginx")
    with (
        fake_nodes(*nodes) as addresses,
        nginx(folder, addresses) as edge,
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


@pytest.mark.parametrize("body", [SHORT, LONG], ids=["short", "long"])
def test_what_a_node_drops_is_answered_by_the_other(fleet, body):
    fleet.nodes[0].answer = Request.hang_up
    assert [encode(fleet, body).status_code for _ in range(4)] == [200] * 4
    assert fleet.nodes[0].requests
    assert {request.body for node in fleet.nodes for request in node.requests} == {body}


def test_a_node_that_loads_is_passed_over(fleet):
    fleet.nodes[0].answer = lambda request: request.reply(503)
    assert [encode(fleet).status_code for _ in range(4)] == [200] * 4


def test_a_refusal_is_passed_on_and_ejects_nobody(fleet):
    for node in fleet.nodes:
        node.answer = lambda request: request.reply(429, b"full", Retry_After="7")
    answers = [encode(fleet) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {429}
    assert {answer.headers["retry-after"] for answer in answers} == {"7"}
    assert {answer.content for answer in answers} == {b"full"}
    assert asked(fleet) == 8
    assert all(node.requests for node in fleet.nodes)


def test_only_the_interface_is_reachable(fleet):
    for path in ("/metrics", "/livez", "/readyz", "/docs", "/", "/long/v1/encode"):
        assert fleet.client.get(path).status_code == 404, path
    assert asked(fleet) == 0
    assert fleet.client.get("/v1/models").status_code == 200
    assert fleet.client.post("/v2/rerank").status_code == 200


def test_one_id_goes_through(fleet):
    encode(fleet, **{"X-Request-Id": "told-by-caller"})
    encode(fleet)
    ids = [r.headers["X-Request-Id"] for node in fleet.nodes for r in node.requests]
    assert "told-by-caller" in ids
    assert all(ids)
    assert '"request_id":"told-by-caller"' in fleet.edge.log()


def test_nodes_are_told_whom_they_answer(fleet):
    encode(fleet, Authorization="Bearer key")
    (request,) = [r for node in fleet.nodes for r in node.requests]
    assert request.headers["X-Forwarded-For"] == "127.0.0.1"
    assert request.headers["X-Forwarded-Proto"] == "http"
    assert request.headers["Authorization"] == "Bearer key"


def test_connections_to_nodes_are_kept(fleet):
    for _ in range(10):
        encode(fleet)
    assert len({r.connection for node in fleet.nodes for r in node.requests}) <= 4


def test_bodies_have_a_size(fleet):
    answer = encode(fleet, b"x" * (33 * 2**20))
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert asked(fleet) == 0


def test_a_long_text_goes_a_way_of_its_own(fleet):
    encode(fleet)
    encode(fleet, LONG)
    fleet.client.post("/v1/encode", content=iter([SHORT]))  # says no length
    ways = [line.partition('"way":"')[2][:5] for line in fleet.edge.log().splitlines()[-3:]]
    assert ways == ["short", 'long"', 'long"']
    assert {r.path for node in fleet.nodes for r in node.requests} == {"/v1/encode"}


def test_a_large_answer_flows_while_it_is_made(fleet):
    """The first megabyte is here before the last is written."""
    read = []

    def slow(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(2 * 2**20))
        request.end_headers()
        request.wfile.write(b"x" * 2**20)
        deadline = time.monotonic() + 5
        while not read and time.monotonic() < deadline:
            time.sleep(0.01)
        request.wfile.write(b"y" * 2**20)

    for node in fleet.nodes:
        node.answer = slow
    began = time.monotonic()
    with fleet.client.stream("POST", "/v1/encode", content=SHORT) as answer:
        read.extend(map(len, answer.iter_bytes()))
    assert sum(read) == 2 * 2**20
    assert time.monotonic() - began < 4


def test_too_many_of_one_caller_are_refused_by_the_edge(tmp_path):
    node = FakeNode()
    changes = [("rate=500r/s", "rate=1r/s"), ("burst=1000", "burst=2")]
    with (
        fake_nodes(node) as addresses,
        nginx(tmp_path, addresses, changes=changes) as edge,
        httpx.Client(base_url=edge.url, trust_env=False) as client,
    ):
        answers = [client.post("/v1/encode", content=SHORT) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 3
    assert answers[-1].json()["code"] == "rate_limited"
    assert answers[-1].headers["retry-after"] == "1"
    assert len(node.requests) == 3


def test_with_no_node_left_the_answer_says_so(tmp_path):
    nodes = [f"127.0.0.1:{port}" for port in free_ports(2)]
    with nginx(tmp_path, nodes) as edge:
        answer = httpx.post(f"{edge.url}/v1/encode", content=SHORT, trust_env=False)
    assert (answer.status_code, answer.json()["code"]) == (502, "embedder_unreachable")


def test_a_list_of_nodes_is_followed(tmp_path):
    """The watcher brings nodes in and out, by the list and by /readyz."""
    first, second = FakeNode(), FakeNode()
    with (
        fake_nodes(first, second),
        nginx(tmp_path, [first.address], watched=True) as edge,
        httpx.Client(base_url=edge.url, trust_env=False, timeout=10) as client,
    ):

        def until_asked(node: FakeNode, other: FakeNode) -> None:
            deadline = time.monotonic() + 8
            while True:
                node.requests, other.requests = [], []
                for _ in range(4):
                    assert client.post("/v1/encode", content=SHORT).status_code == 200
                if node.requests and not other.requests:
                    return
                assert time.monotonic() < deadline
                time.sleep(0.1)

        until_asked(first, second)
        edge.list_nodes([first.address, second.address])
        first.ready = False
        until_asked(second, first)
        edge.list_nodes([first.address, "no.such.name.invalid:1"])
        until_asked(second, first)
        first.ready = True
        edge.list_nodes([first.address])
        until_asked(first, second)


def test_beyond_this_machine_the_edge_wants_tls_and_a_key(tmp_path):
    node = FakeNode()
    keys = '"Bearer secret" search;\n'
    with fake_nodes(node) as addresses, nginx(tmp_path, addresses, keys=keys) as edge:
        context = ssl.create_default_context(cafile=str(edge.folder / "certificate.pem"))
        with httpx.Client(base_url=edge.url, verify=context, trust_env=False) as client:

            def called(authorization: str) -> httpx.Response:
                headers = {"Authorization": authorization}
                return client.post("/v1/encode", content=SHORT, headers=headers)

            without = client.post("/v1/encode", content=LONG)
            assert called("Bearer secret2").status_code == 401
            assert called("Bearer secret").status_code == 200
    assert (without.status_code, without.json()["code"]) == (401, "unauthorized")
    assert without.headers["www-authenticate"] == "Bearer"
    assert len(node.requests) == 1
    assert node.requests[0].headers["X-Forwarded-Proto"] == "https"
