"""deploy/nginx as it is, run by nginx in front of small nodes."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from unittest.mock import patch

import httpx
import pytest

from tests.deploy.edge_contract import LONG, PATIENCE, SHORT, EdgeContract, Fleet, hanging_up
from tests.deploy.fake_nodes import FakeNode, Request, fake_nodes
from tests.edges import DEPLOY, free_ports, nginx


class TestNginx(EdgeContract):
    start = nginx
    patient = ()
    # One more after a minute, which no six requests take.
    three_requests = (("rate=500r/s", "rate=1r/m"), ("burst=1000", "burst=2"))

    def test_a_long_text_is_sent_again_where_its_node_hangs_up(self, fleet):
        fleet.nodes[0].answer = Request.hang_up
        answers = [*fleet.until_asked(fleet.nodes[0], LONG), fleet.encode(LONG), fleet.encode(LONG)]
        assert {answer.status_code for answer in answers} == {200}

    def test_beyond_this_machine_the_edge_wants_tls_and_a_key(self, tmp_path):
        self.secured(tmp_path, '"Bearer KEY" search;\n')


def test_with_no_node_left_the_answer_says_so(tmp_path):
    nodes = [f"127.0.0.1:{port}" for port in free_ports(2)]
    with nginx(tmp_path, nodes) as edge:
        url = f"{edge.url}/v1/encode"
        answer = httpx.post(url, content=SHORT, trust_env=False, timeout=PATIENCE)
    assert (answer.status_code, answer.json()["code"]) == (502, "embedder_unreachable")


@pytest.mark.parametrize("size", [100, 20_000])
def test_only_what_is_short_is_sent_again_for_time(tmp_path, size):
    """A hung node costs a short text its time-out, and is no reason to begin a long one again."""
    hung, sound = FakeNode(lambda request: request.connection.recv(1)), FakeNode()
    # Both at once, so that each node gets one; the sound one has to answer within the time.
    lowered = [("proxy_read_timeout 25s", "proxy_read_timeout 3s")]
    lowered += [("proxy_read_timeout 150s", "proxy_read_timeout 3s")]
    with (
        fake_nodes(hung, sound) as addresses,
        nginx(tmp_path, addresses, changes=lowered) as edge,
        httpx.Client(base_url=edge.url, trust_env=False, timeout=PATIENCE) as client,
        ThreadPoolExecutor(2) as callers,
    ):
        text = b"x" * size
        answers = list(callers.map(lambda _: client.post("/v1/encode", content=text), range(2)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == ([200, 200] if size == 100 else [200, 502])
    assert hung.requests


def test_nginx_is_told_of_its_nodes_until_it_takes_them(tmp_path):
    """A reload that fails is tried again, and one that an earlier watcher left undone is done."""
    spec = spec_from_file_location("watch_nodes", DEPLOY / "nginx/watch_nodes.py")
    assert spec is not None
    assert spec.loader is not None
    watching = module_from_spec(spec)
    with patch.dict(sys.modules, watch_nodes=watching):
        spec.loader.exec_module(watching)
    listed, served, tries = (tmp_path / name for name in ("nodes.txt", "nodes.conf", "tries"))
    reload = ["sh", "-c", 'echo >>"$0"; test "$(wc -l <"$0")" -ge 2', str(tries)]
    with fake_nodes(FakeNode()) as [address]:
        listed.write_text(address)
        watching.PATIENCE = PATIENCE
        watch = watching.Watch(listed, served, reload)
        for expected in (1, 2, 2):
            asyncio.run(watch.turn())
            assert tries.read_text().count("\n") == expected
        assert f"server {address} " in served.read_text()
        asyncio.run(watching.Watch(listed, served, reload).turn())
    assert tries.read_text().count("\n") == 3


def test_a_list_of_nodes_is_followed(tmp_path):
    """The watcher brings nodes in and out, by the list and by /readyz."""
    first, second = nodes = [FakeNode(), FakeNode()]
    with (
        fake_nodes(*nodes),
        nginx(tmp_path, [first.address], watched=True) as edge,
        hanging_up(edge) as client,
    ):
        fleet = Fleet(edge, nodes, client)
        fleet.until_only(first)
        edge.list_nodes([first.address, second.address])
        fleet.until_all()
        first.ready = False
        fleet.until_only(second)
        first.ready = True
        edge.list_nodes([first.address])
        fleet.until_only(first)
        edge.list_nodes(["no.such.name.invalid:1"])
        fleet.until_only(first)
