"""The edge of compose and Kubernetes: HAProxy as they start it, nodes that a name server knows."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests.deploy.edge_contract import PATIENCE, SHORT, UNHURRIED, Fleet
from tests.deploy.fake_nodes import FakeNode, Request, fake_nodes
from tests.deploy.names import Names, names
from tests.edges import Edge, haproxy_inside
from tests.pace import until

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["edge"]
DEPLOYED = next(
    each
    for each in yaml.safe_load_all((ROOT / "deploy/kubernetes/base/edge.yaml").read_text())
    if each["kind"] == "Deployment"
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is Linux's")


@dataclass(frozen=True)
class ByName:
    """Two nodes of one port at two addresses, and the name that stands for either or both."""

    fleet: Fleet
    names: Names
    edge: Edge

    def watch(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.edge.watch}{path}", trust_env=False, timeout=PATIENCE)


@pytest.fixture(scope="module")
def by_name(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ByName]:
    first, second = FakeNode(host="127.0.0.2"), FakeNode(host="127.0.0.3")
    folder = tmp_path_factory.mktemp("edge")
    with (
        fake_nodes(first) as [address],
        fake_nodes(second, port=int(address.rpartition(":")[2])),
        names() as served,
        haproxy_inside(
            folder,
            COMPOSE["command"],
            nodes=f"embedder.test:{address.rpartition(':')[2]}",
            resolver=served.address,
            changes=UNHURRIED,
        ) as edge,
        httpx.Client(base_url=edge.url, trust_env=False, timeout=PATIENCE) as client,
    ):
        yield ByName(Fleet(edge, [first, second], client), served, edge)


def test_compose_and_kubernetes_start_the_same():
    [container] = DEPLOYED["spec"]["template"]["spec"]["containers"]
    assert container["args"] == COMPOSE["command"]


def test_nodes_come_and_go_by_their_name(by_name):
    """One story, as each step costs a lookup: none, one, both, one that ends, one that is gone."""
    fleet, first, second = by_name.fleet, *by_name.fleet.nodes
    assert by_name.watch("/livez").status_code == 200
    assert by_name.watch("/readyz").status_code == 503
    assert fleet.encode().status_code == 503
    by_name.names.addresses = ["127.0.0.2"]
    until(lambda: by_name.watch("/readyz").status_code == 200)
    fleet.until_only(first)
    by_name.names.addresses = ["127.0.0.2", "127.0.0.3"]
    fleet.until_all()

    # A node that is told to end leaves the name first, and has an answer to finish.
    begun, finish = threading.Event(), threading.Event()

    def slow(request: Request) -> None:
        begun.set()
        finish.wait(PATIENCE)
        request.reply(200, b"finished")

    first.answer = slow
    answers: list[httpx.Response] = []
    url = f"{by_name.edge.url}/v1/encode"

    def ask() -> None:
        answers.append(httpx.post(url, content=SHORT, trust_env=False, timeout=PATIENCE))

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for each in asking:
        each.start()
    assert begun.wait(PATIENCE)
    by_name.names.addresses = ["127.0.0.3"]
    lookups = by_name.names.asked + 2
    until(lambda: by_name.names.asked > lookups)
    finish.set()
    for each in asking:
        each.join()
    assert [answer.status_code for answer in answers] == [200] * 4
    assert b"finished" in {answer.content for answer in answers}

    # Its place is free once it says that it is not ready; what is on its way just then is cut off.
    first.ready = False
    until(lambda: 'active_servers{proxy="embedder"} 1' in by_name.watch("/metrics").text)
    fleet.until_only(second)


def test_nodes_stay_while_the_name_server_is_away():
    """Of which HAProxy would wait 30 s before it takes all nodes out."""
    config = (ROOT / "deploy/haproxy/haproxy.cfg").read_text()
    holds = dict(re.findall(r"^ +hold (\w+) +(\w+)$", config, re.MULTILINE))
    assert {holds.get(state) for state in ("timeout", "refused", "other")} == {"1h"}


def test_prometheus_reads_the_edge(by_name):
    answer = by_name.watch("/metrics")
    assert answer.status_code == 200
    assert "haproxy_server_status" in answer.text
    assert by_name.watch("/").status_code == 404
    assert by_name.fleet.client.get("/metrics").status_code == 404
