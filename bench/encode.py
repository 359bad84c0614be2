"""Our encoder in its arithmetics beside FlagEmbedding at its best batch size, and other peers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from bench.checkpoints import checkpoint, described
from bench.contenders import OURS, PEER, PEERS
from bench.measure import Result, Timing, interleaved
from bench.texts import Mix, mixes
from bench.worker import Run, Worker, workers

_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
_QUICK, _LONG = 8, 200
_PATIENCE = 60.0
"""Seconds of the peer's run above which three rounds must do."""


def run(
    *,
    model: Annotated[str, typer.Option(help="full, a number of layers, stand-in or DIR.")] = "full",
    threads: Annotated[str, typer.Option(help="Threads and cores, comma-separated.")] = "1,2",
    rounds: Annotated[int, typer.Option(help="Interleaved runs of each.", min=1)] = 5,
    long: Annotated[bool, typer.Option("--long", help="200 texts of mixed length: hours.")] = False,
    only: Annotated[str, typer.Option(help="Mixes whose name holds this.")] = "",
    precisions: Annotated[str, typer.Option(help="Ours beside fp32, comma-separated.")] = (
        "bf16,int8"
    ),
) -> Result:
    """Seconds of whole calls, tokenising included; all three outputs but where "dense only" says.

    Ratios are of CPU seconds, and of wall time for queries, which somebody waits for.
    """
    folder = checkpoint(model)
    chosen = [mix for mix in mixes(folder, mixed=_LONG if long else _QUICK) if only in mix.name]
    ours = dict.fromkeys([OURS[0], *precisions.split(",")])
    figures: list[dict[str, Any]] = []
    notes: dict[str, Any] = {
        "model": described(model),
        "FlagEmbedding": "its best batch size of "
        f"{', '.join(map(str, _BATCH_SIZES))}, swept for each mix; ratios are to that",
        "computed": "tokens computed for one asked: padding, and FlagEmbedding's probes",
        "beside": "share of tokenising and of what follows the forward pass",
    }
    for count in map(int, threads.split(",")):
        with workers([*PEERS, *ours], folder, threads=count) as (running, absent):
            notes |= {f"engine of {name}": worker.engine for name, worker in running.items()}
            notes |= {"left out": absent} if absent else {}
            for mix in chosen:
                measured = _measure(mix, running, rounds)
                figures += [{"mix": mix.name, "threads": count, **row} for row in measured.rows()]
                notes[f"sweep, {mix.name}, {count} threads"] = measured.swept()
    return Result("encode" if model == "full" else f"encode-{model}", figures, notes)


@dataclass(frozen=True, slots=True)
class _Measured:
    """One mix, every contender.

    Attributes:
        sweep: the peer's one run with each batch size, the last of which holds the whole call.
        best: the peer's batch size that won.
    """

    mix: Mix
    timings: Mapping[str, Timing]
    runs: Mapping[str, list[Run]]
    sweep: Mapping[int, Run]
    best: int

    def rows(self) -> list[dict[str, Any]]:
        rows = [self._row(name) for name in self.timings]
        if len(self.sweep) > 1 and self.mix.swept >= len(self.mix.texts):
            rows.append(self._default())
        return rows

    def _default(self) -> dict[str, Any]:
        """The peer with its own batch size, which holds the whole call: one run of the sweep."""
        run, best = self.sweep[max(self.sweep)], self.timings[PEER]
        asked = self.runs[OURS[0]][0].tokens
        return {
            "what": f"{PEER}, its default",
            "runs": 1,
            "CPU s": run.cpu,
            "wall s": run.wall,
            "tokens/CPU s": asked / run.cpu,
            "computed": run.tokens / asked,
            "times faster": best.median_cpu / run.cpu,
        }

    def swept(self) -> dict[str, float]:
        """CPU seconds by batch size; the default is as the last."""
        return {str(size): round(run.cpu, 3) for size, run in self.sweep.items()}

    def _row(self, name: str) -> dict[str, Any]:
        timing, peer, runs = self.timings[name], self.timings[PEER], self.runs[name]
        asked = self.runs[OURS[0]][0].tokens
        ratio = peer.wall_ratio(timing) if self.mix.alone else peer.cpu_ratio(timing)
        return {
            "what": f"{name}, batch {self.best}" if name == PEER else name,
            "runs": len(timing.cpu),
            "CPU s": timing.median_cpu,
            "wall s": timing.median_wall,
            "tokens/CPU s": asked / timing.median_cpu,
            "computed": runs[0].tokens / asked,
            "beside %": _beside(runs),
            "times faster": ratio,
            "target": self.mix.targets.get(name),
        }


def _measure(mix: Mix, running: Mapping[str, Worker], rounds: int) -> _Measured:
    running = {n: worker for n, worker in running.items() if mix.peers or n in (PEER, *OURS)}
    sweep = _sweep(running[PEER], mix)
    best = min(sweep, key=lambda size: sweep[size].cpu)
    runs: dict[str, list[Run]] = {name: [] for name in running}
    for name, worker in running.items():
        if name != PEER:  # which the sweep has warmed
            worker.encode(mix.texts, alone=mix.alone)
    contenders = {
        name: _contender(worker, mix, best if name == PEER else None, runs[name])
        for name, worker in running.items()
    }
    patient = sweep[best].wall * len(mix.texts) / len(_swept(mix)) < _PATIENCE
    timings = interleaved(contenders, repeats=rounds if patient else min(rounds, 3), warmups=0)
    return _Measured(mix, {timing.name: timing for timing in timings}, runs, sweep, best)


def _sweep(peer: Worker, mix: Mix) -> dict[int, Run]:
    """Sizes up to the first that holds the whole call: larger ones are the same."""
    texts = _swept(mix)
    sizes = [size for size in _BATCH_SIZES if size < (1 if mix.alone else len(texts))]
    sizes = _BATCH_SIZES[: len(sizes) + 1]
    peer.encode(texts[:1])
    return {size: peer.encode(texts, batch_size=size, alone=mix.alone) for size in sizes}


def _swept(mix: Mix) -> list[str]:
    return list(mix.texts[: mix.swept])


def _contender(worker: Worker, mix: Mix, size: int | None, runs: list[Run]) -> Callable[[], Run]:
    def run_once() -> Run:
        runs.append(worker.encode(mix.texts, batch_size=size, alone=mix.alone))
        return runs[-1]

    return run_once


def _beside(runs: list[Run]) -> float | None:
    """Percent of a run outside the forward pass."""
    if not runs[0].seconds:
        return None
    return statistics.median(100 * (1 - run.seconds["compute"] / run.wall) for run in runs)
