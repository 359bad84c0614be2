"""A node with its worker, as real processes: crashes, overload, signals, and the end."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from embedder.api.node import Node
from m3.errors import NotReady, WorkerLost
from m3.settings import load_settings
from m3.types import OUTPUTS
from serving.server import GRACE
from tests.embedder.batching.fake_runner import HandRunner, text
from tests.embedder.held_workers import Gate, has_ended, standing, until_queued, worker_of
from tests.pace import eventually
from tests.processes import COMMANDS, server

pytestmark = pytest.mark.anyio

REFUSALS = 10


def arguments(model: Path) -> list[str | Path]:
    return [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", model]


def client_of(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=120, limits=limits)


def long_texts(count: int, first: int = 0) -> dict[str, Any]:
    """A body of texts of 500 tokens, none of them the same."""
    return {"input": [f"{first + i} " + "word " * 498 for i in range(count)], "outputs": ["dense"]}


async def until_ready(client: httpx.AsyncClient, *, ready: bool) -> None:
    deadline = time.monotonic() + 120
    while ((await client.get("/readyz")).status_code == 200) is not ready:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def until_refused(url: str) -> None:
    """Wait until the node takes no more connections."""
    deadline = time.monotonic() + 60
    while True:
        try:
            # Each on a connection of its own.
            async with client_of(url) as client:
                await client.get("/livez")
        except httpx.TransportError:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def maps_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def test_the_server_needs_no_torch():
    modules = "embedder.api.app, embedder.batching.pool, serving.server, commands.embedder"
    code = f"import {modules}, sys; assert not {{'torch', 'transformers'}} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_node_outlives_its_worker_and_ends_with_nothing_undone(stand_in, tmp_path):
    gate = Gate(tmp_path)
    with server(arguments(stand_in), {"M3_LOG_FORMAT": "json", **gate.env}) as (url, node):
        async with client_of(url) as client:
            worker = worker_of(node)
            if sys.platform == "linux":
                assert (maps_torch(node.pid), maps_torch(worker.pid)) == (False, True)

            gate.close()
            with standing(worker):
                asked = [
                    asyncio.create_task(client.post("/v1/encode", json=long_texts(4, 100 * i)))
                    for i in range(4)
                ]
                # All but the first, which the worker has.
                await until_queued(client, lambda tokens: tokens > 3 * 4 * 500)
                worker.kill()
            await until_ready(client, ready=False)
            gate.open()
            answers = await asyncio.gather(*asked)
            assert [answer.status_code for answer in answers] == [200] * 4
            assert all(len(answer.json()["data"]) == 4 for answer in answers)
            await until_ready(client, ready=True)
            assert "m3_worker_restarts_total 1.0" in (await client.get("/metrics")).text

            with standing(worker_of(node)) as successor:
                asked = [
                    asyncio.create_task(
                        client.post("/v1/encode", json=long_texts(8, 1000 + 100 * i))
                    )
                    for i in range(6)
                ]
                await until_queued(client, lambda tokens: tokens > 5 * 8 * 500)
                # As a terminal sends it, to all.
                node.signal(signal.SIGTERM)
                successor.send_signal(signal.SIGTERM)
                await until_refused(url)
            answers = await asyncio.gather(*asked)
            assert [answer.status_code for answer in answers] == [200] * 6
        assert node.wait() == 0
        assert not successor.is_running()
        output = node.output()
    lines = [line for line in output.splitlines() if line.startswith("{")]
    events = [json.loads(line)["event"] for line in lines]
    assert events.count("model loaded") == 1
    assert "a worker is replaced" in events
    # The worker's own line came through the server.
    assert events.count("worker is warm") == 2
    assert "Traceback" not in output
    # Its address and its model; all else is structured.
    assert len(output.splitlines()) == len(lines) + 2


async def test_those_who_wait_when_a_node_ends_are_told_to_ask_another():
    node, runner = Node(load_settings()), HandRunner()
    batcher = node._batcher
    runner.attach(batcher.listener)
    waiting = asyncio.create_task(batcher.submit([text(3)], "passage", OUTPUTS))
    # It is in the queue once it has run.
    await asyncio.sleep(0)
    assert runner.given
    error = WorkerLost("a worker ended with status 9")
    node._fail(error)
    for outcome in (waiting, batcher.submit([text(4)], "passage", OUTPUTS)):
        with pytest.raises(NotReady, match="ends: a worker ended with status 9"):
            await outcome
    assert node.lifecycle.failure is error


async def test_a_second_signal_ends_at_once(stand_in):
    with server(arguments(stand_in)) as (url, node):
        async with client_of(url) as client:
            # What it was asked for would never be done.
            with standing(worker_of(node)) as worker:
                asked = asyncio.create_task(client.post("/v1/encode", json=long_texts(100)))
                await until_queued(client, lambda tokens: tokens > 10_000)
                node.signal(signal.SIGTERM)
                await until_refused(url)
                assert node.process.poll() is None
                assert not asked.done()
                node.signal(signal.SIGTERM)
                # Less than those under way get.
                await asyncio.to_thread(node.wait, GRACE * 2 / 3)
                (outcome,) = await asyncio.gather(asked, return_exceptions=True)
                assert isinstance(outcome, httpx.TransportError) or outcome.status_code >= 500
                await eventually(lambda: has_ended(worker))


async def test_a_worker_ends_with_its_node_however_that_ends(stand_in):
    with server(arguments(stand_in)) as (_, node):
        worker = worker_of(node)
        if sys.platform == "linux":
            # Not even able to notice.
            worker.suspend()
        node.process.kill()
        await eventually(lambda: has_ended(worker))


async def test_overload_is_refused_at_once_while_a_batch_runs(stand_in):
    with server(arguments(stand_in), {"M3_MAX_QUEUE_TOKENS": "16384"}) as (url, node):
        async with client_of(url) as client:
            # The batch takes as long as the refusals do.
            with standing(worker_of(node)):
                asked = [
                    asyncio.create_task(client.post("/v1/encode", json=long_texts(7, 100 * i)))
                    for i in range(4)
                ]
                await until_queued(client, lambda tokens: tokens > 3 * 7 * 500)
                began = seconds_computed(node.pid)
                for _ in range(REFUSALS):
                    answer = await client.post("/v1/encode", json=long_texts(16, 5000))
                    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
                    assert int(answer.headers["retry-after"]) >= 1
                assert (seconds_computed(node.pid) - began) / REFUSALS < 0.05
            assert {(await task).status_code for task in asked} == {200}
            metrics = (await client.get("/metrics")).text
            assert f'm3_requests_refused_total{{reason="queue_tokens"}} {REFUSALS}.0' in metrics
            assert f'm3_errors_total{{code="overloaded"}} {REFUSALS}.0' in metrics


def seconds_computed(pid: int) -> float:
    """By a process itself, however long it waited for a processor."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@pytest.fixture(scope="module")
def unfit(stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in, but for a word whose vector is not finite."""
    folder = tmp_path_factory.mktemp("unfit") / "checkpoint"
    shutil.copytree(stand_in, folder)
    weights = load_file(folder / "model.safetensors")
    (name,) = (name for name in weights if name.endswith("word_embeddings.weight"))
    token = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id("poison")
    weights[name][token] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


async def test_a_text_with_values_that_are_not_finite_is_named(unfit):
    with server(arguments(unfit)) as (url, _):
        async with client_of(url) as client:
            bodies = [{"input": ["sound", "a poison"]}, {"input": ["so sound", "and well"]}]
            bad, good = await asyncio.gather(
                *(client.post("/v1/encode", json=body) for body in bodies)
            )
    assert (bad.status_code, bad.json()["code"]) == (500, "not_finite")
    assert bad.json()["detail"] == ("input[1]: the model computed values that are not finite")
    assert good.status_code == 200
