"""A node over HTTP beside the bare forward pass of the same texts on the same cores."""

from __future__ import annotations

import time
from typing import Annotated, Any

import httpx
import orjson
import typer

from bench.checkpoints import checkpoint, described
from bench.measure import Result, Seconds, interleaved
from bench.node import Node, cores, node, pinned, total
from bench.texts import texts_of
from bench.worker import Absent, Worker
from m3.codec import MEDIA_TYPE

_TEXTS, _TOKENS = 8, 512


def run(
    *,
    model: Annotated[str, typer.Option(help="Comma-separated: full, layers, stand-in, DIR.")] = (
        "stand-in,full"
    ),
    precisions: Annotated[str, typer.Option(help="Comma-separated.")] = "fp32,bf16,int8",
    rounds: Annotated[int, typer.Option(min=1)] = 5,
) -> Result:
    """8 texts of 512 tokens a request, binary answers in int8 codes, one thread; the client has
    another core where there is one."""
    figures: list[dict[str, Any]] = []
    notes: dict[str, Any] = {"texts": f"{_TEXTS} of {_TOKENS} tokens a request"}
    for name in model.split(","):
        for precision in precisions.split(","):
            try:
                bare = Worker(precision, checkpoint(name), threads=1)
            except Absent as why:
                notes[f"left out: {precision}"] = str(why)
                continue
            try:
                row = _measure(name, precision, bare, rounds)
            finally:
                bare.close()
            notes[f"engine of {precision}"] = bare.engine
            figures.append({"what": f"{described(name)}, {precision}", **row})
    return Result("http", figures, notes)


def _measure(name: str, precision: str, bare: Worker, rounds: int) -> dict[str, Any]:
    folder, all_cores = checkpoint(name), cores()
    texts = texts_of(folder, [_TOKENS] * _TEXTS)
    with node(folder, precision=precision, cores=all_cores[:1]) as served, pinned(all_cores[-1:]):
        forward, request = interleaved(
            {"forward": lambda: _forward(bare, texts), "HTTP": lambda: _request(served, texts)},
            repeats=rounds,
        )
        metrics = served.metrics()
    computed = total(metrics, "m3_tokens_total")
    return {
        "forward s": forward.median_wall,
        "HTTP s": request.median_wall,
        "over %": 100 * (request.wall_ratio(forward) - 1),
        "node's CPU over %": 100 * (request.cpu_ratio(forward) - 1),
        "padding %": 100 * total(metrics, "m3_padding_tokens_total") / computed,
        "runs": rounds,
    }


def _forward(bare: Worker, texts: list[str]) -> Seconds:
    """The forward pass alone, without tokenising and what follows."""
    run = bare.encode(texts)
    seconds = run.seconds["compute"]
    return Seconds(seconds, run.cpu * seconds / run.wall)


def _request(served: Node, texts: list[str]) -> Seconds:
    body = orjson.dumps({"input": texts, "kind": "passage"})
    headers = {"Content-Type": "application/json", "Accept": f"{MEDIA_TYPE};codec=int8"}
    cpu, wall = served.cpu(), time.perf_counter()
    answer = httpx.post(
        f"{served.url}/v1/encode", content=body, headers=headers, trust_env=False, timeout=600
    )
    wall = time.perf_counter() - wall
    answer.raise_for_status()
    return Seconds(wall, served.cpu() - cpu)
