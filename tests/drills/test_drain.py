"""A node told to end while tokens wait and a batch runs: everybody is answered, then it ends."""

from __future__ import annotations

import asyncio
import signal

import httpx
import psutil
import pytest

from bench.node import Node, total
from tests.drills.texts import passages
from tests.processes import COMMANDS, server

pytestmark = [pytest.mark.drill, pytest.mark.anyio]

REQUESTS, TEXTS = 12, 8


async def test_sigterm_with_tokens_queued_and_a_batch_running(stand_in):
    """Those accepted get their embeddings; `/readyz` says 503 meanwhile; the exit status is 0."""
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    texts = passages()
    with server(arguments, {"M3_DRAIN_SECONDS": "1"}) as (url, process):
        node = Node(url, psutil.Process(process.pid))
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            asked = [
                asyncio.create_task(
                    client.post("/v1/encode", json={"input": [next(texts) for _ in range(TEXTS)]})
                )
                for _ in range(REQUESTS)
            ]
            await _until_busy(node)
            process.signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            waiting = sum(not task.done() for task in asked)
            readiness = await client.get("/readyz")
            answers = await asyncio.gather(*asked)
        assert waiting > 1, "nothing was left to finish"
        assert readiness.status_code == 503
        assert [answer.status_code for answer in answers] == [200] * REQUESTS
        assert all(len(answer.json()["data"]) == TEXTS for answer in answers)
        assert process.wait() == 0


async def _until_busy(node: Node) -> None:
    """Tokens are queued behind a batch that was begun since the node warmed up."""
    warm = total(node.metrics(), "m3_batch_tokens_count")
    async with asyncio.timeout(20):
        while True:
            metrics = await asyncio.to_thread(node.metrics)
            begun = total(metrics, "m3_batch_tokens_count") > warm
            if begun and total(metrics, "m3_queue_tokens") > 0:
                return
            await asyncio.sleep(0.01)
