"""What a refusal costs a node's server: its queue is kept full by workers that are held."""

from __future__ import annotations

import time
from collections.abc import Generator as Generated
from contextlib import contextmanager
from typing import Annotated

import typer

from bench.checkpoints import checkpoint, described
from bench.load import Generator, Load, p
from bench.measure import Result
from bench.node import Node, cores, node, pinned, total
from bench.texts import texts_of

_TOKENS = 120
_QUEUE_TOKENS = "8192"
_FILLING_SECONDS = 2.0


def run(
    *,
    model: Annotated[str, typer.Option(help="full, layers, stand-in or DIR.")] = "stand-in",
    seconds: Annotated[float, typer.Option(help="Of refusals.", min=1, max=30)] = 10,
    rate: Annotated[float, typer.Option(help="Requests a second.", min=100)] = 200,
) -> Result:
    """Passages of 120 tokens, one a request. The load generator has its own core."""
    folder = checkpoint(model)
    texts = list(dict.fromkeys(texts_of(folder, [_TOKENS] * 200)))
    available = cores()
    served, loading = available[:-1] or available, available[-1:]
    settings = {"M3_MAX_QUEUE_TOKENS": _QUEUE_TOKENS}
    with node(folder, precision="auto", cores=served, settings=settings) as running:
        with pinned(loading), _held(running):
            lasting = _FILLING_SECONDS + seconds + 1
            load = Generator(Load(running.url, texts, "passage", lasting, rate=rate))
            time.sleep(_FILLING_SECONDS)
            before, cpu = _refused(running), _cpu(running)
            time.sleep(seconds)
            cpu, refused = _cpu(running) - cpu, _refused(running) - before
        sent = load.outcome()
    took = [1e3 * one.took for one in sent if one.status == 429]
    rows = [
        {"what": "refusals/s", "value": refused / seconds},
        {"what": "CPU of the server for one, us", "value": 1e6 * cpu / refused},
        {"what": "refused in ms, p50", "value": p(took, 50)},
    ]
    notes = {"model": described(model), "cores": f"node {served}, load generator {loading}"}
    return Result("refusals", rows, notes)


@contextmanager
def _held(running: Node) -> Generated[None]:
    """Workers that compute nothing for the length of a block, which their watch must not notice."""
    workers = running.process.children(recursive=True)
    for worker in workers:
        worker.suspend()
    try:
        yield
    finally:
        for worker in workers:
            worker.resume()


def _refused(running: Node) -> float:
    return total(running.metrics(), "m3_http_requests_total", status="429")


def _cpu(running: Node) -> float:
    times = running.process.cpu_times()
    return times.user + times.system
