"""A write and a search over real processes, as a collector of traces is told of them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from m3.settings import load_settings
from store.index.engine import Engine
from tests.collector import Collector, Spanned, collecting
from tests.processes import COMMANDS, running, wait_for_server

TEXT, QUERY = "The kestrel hovers over the meadow.", "Which bird hovers?"
COLLECTION = "traced"
NODE = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--precision", "fp32"]


@dataclass(frozen=True)
class Traced:
    """What was seen of one write and one search, after both servers ended."""

    collector: Collector
    logs: dict[str, str]
    request_id: str

    def under(self, parent: Spanned | None, name: str) -> Spanned:
        """The one span of that name in the search's trace, right beneath another."""
        [found] = [
            each
            for each in self.search
            if each.name == name and each.parent == (parent.id if parent else "")
        ]
        return found

    @property
    def search(self) -> list[Spanned]:
        """The spans of the search's trace, by whichever process."""
        [asked] = [
            each
            for each in self.collector.spans
            if each.attributes.get("m3.request_id") == self.request_id and not each.parent
        ]
        return [each for each in self.collector.spans if each.trace == asked.trace]


@pytest.fixture(scope="module")
def traced(stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    home = tmp_path_factory.mktemp("traced") / "home"
    with collecting() as collector, ExitStack() as stack:
        env = {**os.environ, "M3_HOME": str(home), "M3_LOG_FORMAT": "json", **collector.settings}
        node = stack.enter_context(running([*NODE, "--model", stand_in], env))
        node_url = wait_for_server(node, ready=False)
        env = {**env, "M3_EMBEDDER_URL": node_url}
        api = stack.enter_context(running([COMMANDS / "m3-search", "serve", "--port", "0"], env))
        stack.callback(Engine.of(load_settings(home=home)).stop)
        with httpx.Client(base_url=wait_for_server(api), trust_env=False, timeout=60) as client:
            client.post("/v1/collections", json={"name": COLLECTION}).raise_for_status()
            document = f"/v1/collections/{COLLECTION}/documents/secret-id"
            client.put(document, json={"text": TEXT}).raise_for_status()
            asked = {"query": QUERY, "collection": COLLECTION}
            answer = client.post("/v1/search", json=asked).raise_for_status()
            assert len(answer.json()["hits"]) == 1
        for process in (api, node):
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
        logs = {"m3-search": api.output(), "m3-embedder": node.output()}
        yield Traced(collector, logs, answer.headers["X-Request-Id"])


def test_a_search_is_one_trace_through_both_programs(traced):
    call = traced.under(None, "POST /v1/search")
    search = traced.under(call, "search")
    embed = traced.under(search, "search.embed")
    sent = traced.under(embed, "POST /v1/encode")
    received = traced.under(sent, "POST /v1/encode")
    batch = traced.under(received, "node.batch")
    retrieve = traced.under(search, "search.retrieve")
    there = {
        call: "m3-search",
        search: "m3-search",
        sent: "m3-search",
        received: "m3-embedder",
        traced.under(received, "node.tokenize"): "m3-embedder",
        traced.under(received, "node.queue"): "m3-embedder",
        batch: "m3-embedder",
        traced.under(batch, "node.compute"): "m3-embedder",
        traced.under(batch, "node.finish"): "m3-embedder",
        traced.under(received, "node.write"): "m3-embedder",
        traced.under(received, "node.answer"): "m3-embedder",
        embed: "m3-search",
        retrieve: "m3-search",
        traced.under(retrieve, "table.rows"): "m3-search",
        traced.under(search, "search.rerank"): "m3-search",
    }
    assert all(span.service == service for span, service in there.items())
    legs = [each for each in traced.search if each.name == "milvus.search"]
    assert {each.attributes["m3.leg"] for each in legs} == {"dense", "sparse"}
    assert {each.parent for each in legs} == {retrieve.id}
    assert len(traced.search) == len(there) + len(legs)
    assert not [each for each in traced.search if each.failed]


def test_what_is_done_within_a_span_lies_within_it(traced):
    slack = 2_000_000  # a span that is told afterwards has its times by another clock
    by_id = {each.id: each for each in traced.search}
    for each in traced.search:
        if each.parent:
            above = by_id[each.parent]
            assert above.began - slack <= each.began <= each.ended, each
            # What another program does once it has answered, nobody waits for.
            end = each.ended if each.service == above.service else each.began
            assert end <= above.ended + slack, each


def test_spans_say_how_much_and_nobodys_text(traced):
    spans = {(each.service, each.name): each.attributes for each in traced.search}
    assert (
        spans["m3-search", "search"].items()
        >= {
            "m3.collection": COLLECTION,
            "m3.method": "fusion",
            "m3.candidates": 100,
            "m3.hits": 1,
        }.items()
    )
    tokens = spans["m3-search", "search.embed"]["m3.tokens"]
    assert tokens > 3
    assert spans["m3-embedder", "POST /v1/encode"]["m3.tokens"] == tokens
    assert spans["m3-embedder", "node.batch"]["m3.batch_tokens"] == tokens
    assert spans["m3-embedder", "node.answer"]["m3.bytes"] > 0
    assert spans["m3-search", "search.rerank"]["m3.candidates"] == 1
    sent = b"".join(traced.collector.raw)
    assert COLLECTION.encode() in sent
    for secret in ("kestrel", "bird", "secret-id"):
        assert secret.encode() not in sent


def test_a_write_is_a_trace_of_its_own(traced):
    [call] = [each for each in traced.collector.spans if each.name.startswith("PUT ")]
    assert call.name == "PUT /v1/collections/{collection}/documents/{document_id:path}"
    spans = [each for each in traced.collector.spans if each.trace == call.trace]
    [embed] = [each for each in spans if each.name == "ingest.embed"]
    assert embed.attributes["m3.texts"] == 1
    assert [each for each in spans if each.name == "ingest.write"]
    batches = [each for each in spans if each.name == "node.batch"]
    assert [each.attributes["m3.lane"] for each in batches] == ["passage"]
    assert call.trace != traced.search[0].trace


def test_log_lines_name_their_trace_beside_the_request(traced):
    trace = traced.search[0].trace
    for log in traced.logs.values():
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        of_the_search = [line for line in lines if line.get("request_id") == traced.request_id]
        assert of_the_search
        assert {line["trace_id"] for line in of_the_search} == {trace}


def test_probes_are_not_traced(traced):
    names = {each.name for each in traced.collector.spans}
    assert not [name for name in names if "livez" in name or "readyz" in name]
