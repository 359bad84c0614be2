"""Which int8 to keep: our kernels beside OpenVINO's and ONNX Runtime's, in fidelity and in speed.

Needs openvino, nncf, onnx and onnxruntime; what is missing is left out, and said so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from threadpoolctl import threadpool_limits

from bench.checkpoints import checkpoint, described
from bench.contenders import OURS
from bench.fidelity import Outcome
from bench.measure import Result, Timing, interleaved
from bench.runtimes import RUNTIMES, MissingRuntime
from bench.texts import texts_of
from bench.worker import pin, seconds_of, workers
from embedder.encoders.encoder import Encoder
from embedder.encoders.loading import load_encoder
from evaluation.judged.beir import load
from m3.errors import InvalidConfiguration
from m3.settings import load_settings
from m3.types import Codec
from scoring.fusion import Method

_LENGTHS = ((512, 2), (120, 8))
_SHOWN = (Method.DENSE, Method.SPARSE, Method.COLBERT, Method.FUSION)


def run(
    folder: Annotated[Path, typer.Argument(help="A collection in BEIR layout.")],
    *,
    model: Annotated[str, typer.Option(help="Whose speed: full, or a number of layers.")] = "6",
    documents: Annotated[int, typer.Option(help="Of the collection, for fidelity.")] = 400,
    rounds: Annotated[int, typer.Option(help="Interleaved runs of each.", min=1)] = 5,
) -> Result:
    """One thread. Fidelity on the stand-in's weights against our fp32; CPU seconds on `model`."""
    pin([0])
    torch.set_num_threads(1)
    notes: dict[str, Any] = {
        "fidelity": f"{described('stand-in')}, {documents} documents of {folder.name}",
        "speed": f"{described(model)}, CPU seconds",
    }
    with threadpool_limits(1):  # two threads of BLAS would wait for each other on one core
        rows = dict(_fidelity(folder, documents, notes))
    for name, timing in _speed(model, rounds, notes):
        rows.setdefault(name, {})
        rows[name] |= timing
    figures = [{"what": name, **row} for name, row in rows.items()]
    return Result("int8-engines", figures, notes)


def _fidelity(
    folder: Path, documents: int, notes: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    judged = load(folder)
    fp32: Outcome | None = None
    for name, encoder in _encoders(checkpoint("stand-in"), notes):
        notes[f"engine of {name}"] = encoder.engine
        outcome = Outcome(encoder, judged, Codec.INT8, documents)
        fp32 = fp32 or outcome
        beside = outcome.beside(fp32)
        cosine = beside[Method.DENSE.value]["dense cosine, mean"]
        overlaps = {f"{m} overlap": beside[m.value]["top-10 overlap"] for m in _SHOWN}
        yield name, {"cosine": cosine, **overlaps}


def _encoders(folder: Path, notes: dict[str, Any]) -> Iterator[tuple[str, Encoder]]:
    """One after the other, fp32 first; what cannot be had is noted."""
    for name in (*OURS, *RUNTIMES):
        try:
            if name in RUNTIMES:
                yield name, RUNTIMES[name](folder, 1)
            else:
                yield name, load_encoder(load_settings(model=str(folder), precision=name))
        except (MissingRuntime, InvalidConfiguration) as error:
            notes[f"left out: {name}"] = str(error)


def _speed(
    model: str, rounds: int, notes: dict[str, Any]
) -> Iterator[tuple[str, dict[str, float]]]:
    folder = checkpoint(model)
    with workers([*OURS, *RUNTIMES], folder, threads=1) as (running, absent):
        if absent:
            notes["left out of speed"] = absent
        timings: dict[int, dict[str, Timing]] = {}
        for length, count in _LENGTHS:
            texts = texts_of(folder, [length] * count)
            contenders = {name: seconds_of(worker, texts) for name, worker in running.items()}
            found = interleaved(contenders, repeats=rounds)
            timings[length] = {timing.name: timing for timing in found}
        for name in running:
            yield name, _speeds(name, timings)


def _speeds(name: str, timings: dict[int, dict[str, Timing]]) -> dict[str, float]:
    """CPU seconds of each length, and how many times faster than our fp32."""
    row: dict[str, float] = {}
    for (length, count), by_name in zip(_LENGTHS, timings.values(), strict=True):
        row[f"{count} x {length} s"] = by_name[name].median_cpu
        row[f"{length}: x fp32"] = by_name[OURS[0]].cpu_ratio(by_name[name])
    return row
