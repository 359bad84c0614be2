"""m3-search as people and programs meet it: a real API, a real node, the real store."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters

from tests.commands.calls import run
from tests.edges import free_ports
from tests.processes import COMMANDS, running, server, wait_for_server

COMMAND = COMMANDS / "m3-search"
TEXTS = {
    "lighthouse": "The lighthouse keeper climbed the stairs every evening to light the lamp.",
    "harbour": "Fishing boats return to the harbour before the storm reaches the coast.",
    "bread": "Sourdough bread needs flour, water, salt and a patient baker.",
    "guide/oven": "A hot oven with steam gives the loaf a crisp crust.",
    "orbit": "The satellite circles the earth in ninety minutes.",
    "telescope": "Astronomers point the telescope at distant galaxies.",
}
QUESTION = "What does sourdough bread need?"


@pytest.fixture(scope="module")
def environment(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    home = tmp_path_factory.mktemp("search-home")
    settings = {"M3_HOME": str(home), "M3_EMBEDDER_URL": node, "M3_LOG_LEVEL": "warning"}
    yield settings
    run(settings, "engine", "stop")


@pytest.fixture(scope="module")
def api(environment: Mapping[str, str]) -> Iterator[httpx.Client]:
    """A search API whose collection holds TEXTS."""
    with (
        server([COMMAND, "serve", "--port", "0"], environment) as (url, _),
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        made = client.post("/v1/collections", json={"name": "notes", "fields": {"n": "int"}})
        assert made.status_code == 201, made.text
        for number, (id_, text) in enumerate(TEXTS.items()):
            written = put(client, id_, text, {"n": number})
            assert (written.status_code, written.json()["outcome"]) == (201, "created")
        yield client


def put(api: httpx.Client, id_: str, text: str, metadata: Mapping[str, Any]) -> httpx.Response:
    body = {"text": text, "title": "", "metadata": metadata}
    return api.put(f"/v1/collections/notes/documents/{id_}", json=body)


def ask(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as installed, in a process of its own."""
    return subprocess.run(
        [str(COMMAND), *arguments],
        check=False,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def hits(api: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    answer = api.post("/v1/search", json={"query": QUESTION, "collection": "notes", **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["hits"]


@pytest.mark.parametrize("method", ["dense", "sparse", "colbert", "dense+sparse", "fusion"])
def test_every_method_finds_the_document(api: httpx.Client, method: str) -> None:
    assert hits(api, method=method)[0]["document_id"] == "bread"


def test_filters_reach_the_index(api: httpx.Client) -> None:
    chosen = {"field": "n", "op": "gt", "value": 3}
    assert {hit["document_id"] for hit in hits(api, filter=chosen)} == {"orbit", "telescope"}


def test_an_unchanged_document_is_not_written_again(api: httpx.Client) -> None:
    again = put(api, "orbit", TEXTS["orbit"], {"n": 4})
    assert (again.status_code, again.json()) == (200, {"outcome": "unchanged", "chunks": 0})


def test_a_document_is_replaced_deleted_and_written_again(api: httpx.Client) -> None:
    path = "/v1/collections/notes/documents/guide/oven"
    replaced = put(api, "guide/oven", "Penguins waddle over the antarctic ice.", {"n": 3})
    assert (replaced.status_code, replaced.json()["outcome"]) == (200, "replaced")
    assert hits(api, query="penguins on ice")[0]["document_id"] == "guide/oven"
    assert api.delete(path).status_code == 204
    assert "guide/oven" not in {hit["document_id"] for hit in hits(api)}
    assert api.get(path).status_code == 404
    assert put(api, "guide/oven", TEXTS["guide/oven"], {"n": 3}).json()["outcome"] == "created"
    assert api.get(path).json()["chunks"][0]["text"] == TEXTS["guide/oven"]


def test_a_document_that_cannot_be_is_refused(api: httpx.Client) -> None:
    empty = put(api, "empty", " \n", {})
    assert (empty.status_code, empty.json()["detail"]) == (400, "empty text")
    wrong = put(api, "wrong", "words", {"n": "three"})
    assert wrong.status_code == 400
    assert "'n'" in wrong.json()["detail"]
    nowhere = api.put("/v1/collections/none/documents/x", json={"text": "words"})
    assert nowhere.status_code == 404


def test_the_status_counts(api: httpx.Client) -> None:
    status = api.get("/v1/collections/notes").json()
    assert (status["documents"], status["chunks"], status["unpublished"]) == (6, 6, 0)
    assert status["collection"]["stand_in"] is True


def test_a_query_the_model_cannot_read_whole_is_refused(api: httpx.Client) -> None:
    body = {"query": "bread " * 3000, "collection": "notes"}
    answer = api.post("/v1/search", json=body)
    assert answer.status_code == 400
    assert "longer than the 512 tokens" in answer.json()["detail"]


def test_what_other_processes_write_and_drop_is_seen(
    api: httpx.Client, environment: Mapping[str, str], tmp_path: Path
) -> None:
    lines = tmp_path / "lines.jsonl"
    for text in ("The first harbour.", "Another harbour altogether."):
        lines.write_text(json.dumps({"_id": "1", "text": text}))
        ingest(environment, "run", str(lines), "--collection", "shared")
        assert [hit["text"] for hit in hits(api, collection="shared")] == [text]
        ingest(environment, "drop", "shared", "--yes")
        gone = api.post("/v1/search", json={"query": "x", "collection": "shared"})
        assert gone.status_code == 404


def ingest(environment: Mapping[str, str], *arguments: str) -> None:
    """In this process, which is another than the API's."""
    done = run(environment, *arguments, command="m3-ingest")
    assert done.returncode == 0, done.stderr


def test_a_search_after_a_write_sees_it_at_every_server(
    api: httpx.Client, environment: Mapping[str, str]
) -> None:
    def found(at: httpx.Client) -> list[str]:
        asked = {"query": QUESTION, "collection": "notes", "filter": {"field": "n", "op": "eq"}}
        asked["filter"] |= {"value": 99}
        return [hit["text"] for hit in at.post("/v1/search", json=asked).json()["hits"]]

    with (
        server([COMMAND, "serve", "--port", "0"], environment) as (url, _),
        httpx.Client(base_url=url, trust_env=False, timeout=60) as other,
    ):
        for number in range(3):
            for written, read in ((api, other), (other, api)):
                text = f"Written {number} times, at {written.base_url}."
                assert put(written, "last", text, {"n": 99}).is_success
                assert found(read) == found(written) == [text]
            assert other.delete("/v1/collections/notes/documents/last").status_code == 204
            assert found(api) == found(other) == []


@pytest.mark.anyio
async def test_an_agent_starts_the_command(
    api: httpx.Client, environment: Mapping[str, str]
) -> None:
    started = StdioServerParameters(command=str(COMMAND), args=["mcp"], env=dict(environment))
    async with Client(started) as agent:
        asked = {"query": QUESTION, "collection": "notes", "top_k": 1}
        found = await agent.call_tool("search", asked)
        whole = {"collection": "notes", "document_id": "bread"}
        document = await agent.call_tool("fetch_document", whole)
    assert found.structured_content["passages"][0]["document_id"] == "bread"
    assert document.structured_content["chunks"][0]["text"] == TEXTS["bread"]


def test_the_command_answers_what_the_api_answers(
    api: httpx.Client, environment: Mapping[str, str]
) -> None:
    arguments = ["query", QUESTION, "--collection", "notes", "--json", "--explain"]
    here = ask(environment, *arguments)
    there = ask(environment, *arguments, "--url", str(api.base_url))
    assert here.returncode == there.returncode == 0, here.stderr + there.stderr
    ours, theirs = json.loads(here.stdout), json.loads(there.stdout)
    assert ours["hits"] == theirs["hits"] == hits(api, explain=True)
    assert ours["hits"][0]["explain"]["terms"][0]["term"] == "sour"


@pytest.fixture
def manual(api: httpx.Client) -> Iterator[str]:
    """A collection of two documents of many short chunks."""
    chunking = {"max_tokens": 24, "overlap": 0}
    made = api.post("/v1/collections", json={"name": "manual", "chunking": chunking})
    assert made.status_code == 201, made.text
    for number, texts in enumerate((list(TEXTS.values()), list(TEXTS.values())[::-1])):
        body = {"text": "\n\n".join(texts), "title": ""}
        written = api.put(f"/v1/collections/manual/documents/m{number}", json=body)
        assert written.json()["chunks"] > 4
    yield "manual"
    api.delete("/v1/collections/manual")


def test_the_command_asks_for_all_that_the_api_knows(
    api: httpx.Client, environment: Mapping[str, str], manual: str
) -> None:
    arguments = ["query", QUESTION, "-c", manual, "--must", "SOURDOUGH bread", "--must-not", "lamp"]
    arguments += ["--rank", "rrf", "--min-score", "0.001", "--group-by", "document"]
    arguments += ["--neighbours", "1", "--timeout-ms", "60000"]
    here = run(environment, *arguments, "--json")
    assert here.returncode == 0, here.stderr
    found = json.loads(here.stdout)["hits"]
    assert {hit["document_id"] for hit in found} == {"m0", "m1"}
    for hit in found:
        assert "Sourdough bread" in hit["text"]
        assert [abs(near["position"] - hit["position"]) for near in hit["neighbours"]] == [1, 1]
        assert hit["chunks"] == []
    there = run(environment, *arguments, "--json", "--url", str(api.base_url))
    assert json.loads(there.stdout)["hits"] == found
    shown = run(environment, *arguments)
    assert "> #" in shown.stdout
    assert "Fishing boats" in shown.stdout
    nowhere = run(environment, "query", QUESTION, "-c", manual, "--must", "nowhere")
    assert "no hits" in nowhere.stdout


def test_pages_are_of_one_snapshot_whatever_is_written(api: httpx.Client, manual: str) -> None:
    body = {"query": QUESTION, "collection": manual, "top_k": 50}
    whole = api.post("/v1/search", json=body).json()
    assert whole["page"] is None
    first = api.post("/v1/search", json={**body, "top_k": 3}).json()
    for number in range(2):
        new = {"text": "Nothing of what was there before.", "title": ""}
        api.put(f"/v1/collections/manual/documents/m{number}", json=new)
    answer = api.post("/v1/search", json={**body, "top_k": 40, "page": first["page"]}).json()
    assert first["hits"] + answer["hits"] == whole["hits"]
    assert len(api.post("/v1/search", json=body).json()["hits"]) == 2


def test_many_searches_similar_documents_and_reranking(api: httpx.Client) -> None:
    search = {"query": QUESTION, "collection": "notes", "top_k": 2}
    answer = api.post("/v1/search/batch", json={"searches": [search, {**search, "top_k": 0}]})
    first, second = answer.json()["results"]
    assert first["hits"][0]["document_id"] == "bread"
    assert second["code"] == "invalid_input"
    body = {"collection": "notes", "document_id": "bread", "explain": True}
    similar = api.post("/v1/similar", json=body).json()["hits"]
    assert similar[0]["document_id"] == "guide/oven"
    assert "bread" not in {hit["document_id"] for hit in similar}
    body = {"query": QUESTION, "documents": list(TEXTS.values())}
    ranked = api.post("/v1/rerank", json=body).json()["results"]
    assert [*TEXTS][ranked[0]["index"]] == "bread"


def test_people_see_scores_timings_and_the_stand_in(
    api: httpx.Client, environment: Mapping[str, str]
) -> None:
    for more in ([], ["--url", str(api.base_url)]):
        shown = run(environment, "query", QUESTION, "-c", "notes", "--explain", *more)
        assert shown.returncode == 0, shown.stderr
        for words in ("colbert", "default/bread#0", "Sourdough", "ms: embed", "terms: sour"):
            assert words in shown.stdout
        assert "English-only stand-in" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-c", "nowhere"], "no collection 'nowhere'; there are: notes"),
        (["-c", "notes", "--method", "bm25"], "'dense', 'sparse', 'colbert'"),
        (["-c", "notes", "--weights", "-1,1,1"], "weights must not be negative"),
        (["-c", "notes", "--weights", "1,1"], "three numbers"),
        (["-c", "notes", "--top-k", "0"], "top_k must be from 1 to 1000, got 0"),
        (["-c", "notes", "--timeout-ms", "0"], "timeout_ms must be from 1 to 600000, got 0"),
        (["-c", "notes", "--filter", "{"], "--filter is not JSON"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    api: httpx.Client, environment: Mapping[str, str], arguments: list[str], words: str
) -> None:
    failed = run(environment, "query", QUESTION, *arguments)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")
    assert words in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert not failed.stdout


def test_errors_of_the_api_are_the_commands_own(
    api: httpx.Client, environment: Mapping[str, str]
) -> None:
    where = ["--url", str(api.base_url)]
    failed = run(environment, "query", QUESTION, "-c", "nowhere", *where)
    assert failed.returncode == 2
    assert failed.stderr == "error: no collection 'nowhere'; there are: notes\n"


def test_what_is_unreachable_is_exit_3(
    api: httpx.Client, environment: Mapping[str, str], free_port: int
) -> None:
    nobody = f"http://127.0.0.1:{free_port}"
    node_down = run(environment, "query", QUESTION, "-c", "notes", "--embedder-url", nobody)
    assert node_down.returncode == 3
    assert f"no embedder node answers at {nobody}" in node_down.stderr
    api_down = run(environment, "query", QUESTION, "-c", "notes", "--url", nobody)
    assert api_down.returncode == 3
    assert f"no search API answers at {nobody}" in api_down.stderr
    no_api = run(environment, "query", "x", "-c", "notes", "--url", environment["M3_EMBEDDER_URL"])
    assert no_api.returncode != 0
    assert no_api.stderr.startswith("error: ")


def test_readiness_follows_the_node(environment: Mapping[str, str], free_port: int) -> None:
    nobody = {**environment, "M3_EMBEDDER_URL": f"http://127.0.0.1:{free_port}"}
    with running([COMMAND, "serve", "--port", "0"], nobody) as process:
        url = wait_for_server(process, ready=False)
        answer = httpx.get(f"{url}/readyz", trust_env=False, timeout=60)
        assert answer.status_code == 503
        assert "no embedder node is ready" in answer.json()["detail"]


def test_a_port_that_is_taken_is_told(api: httpx.Client, environment: Mapping[str, str]) -> None:
    failed = ask(environment, "serve", "--port", str(api.base_url.port))
    assert failed.returncode == 2
    assert "is taken" in failed.stderr


def test_other_machines_need_keys(environment: Mapping[str, str]) -> None:
    failed = ask(environment, "serve", "--host", "0.0.0.0", "--port", "0")
    assert failed.returncode == 2
    assert "--insecure" in failed.stderr


def test_what_cannot_be_opened_is_told_in_one_line(environment: Mapping[str, str]) -> None:
    failed = ask({**environment, "M3_EMBEDDER_URL": "localhost:7860"}, "serve", "--port", "0")
    assert failed.returncode == 2
    assert failed.stdout == "", "nobody is told an address where nothing will be"
    [line] = failed.stderr.splitlines()
    assert line.startswith("error: M3_EMBEDDER_URL: 'localhost:7860' is no address of a node: ")


def test_the_engine_is_started_shown_and_stopped(tmp_path: Path) -> None:
    home = {"M3_HOME": str(tmp_path / "home")}
    assert json.loads(ask(home, "engine", "status", "--json").stdout)["running"] is False
    assert "None" not in run(home, "engine", "status").stdout
    started = json.loads(ask(home, "engine", "start", "--json").stdout)
    assert started["running"] is True
    assert started["pid"] > 0
    assert "running" in ask(home, "engine", "status").stdout
    assert json.loads(ask(home, "engine", "stop", "--json").stdout) == {"stopped": True}
    assert json.loads(ask(home, "engine", "stop", "--json").stdout) == {"stopped": False}
    server_in_use = ask({**home, "M3_MILVUS_URI": "http://localhost:19530"}, "engine", "start")
    assert server_in_use.returncode == 2
    assert "M3_MILVUS_URI" in server_in_use.stderr


@pytest.fixture
def free_port() -> int:
    [port] = free_ports(1)
    return port
