"""MaxSim of one query over candidates just read from a table, against FlagEmbedding's in torch."""

# torch leaves untyped much of what is used here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from itertools import count, pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from threadpoolctl import threadpool_limits

from bench.checkpoints import checkpoint
from bench.chunks import Chunks, unit_vectors, write_chunks
from bench.fidelity import embedded
from bench.measure import Result, Seconds, Timing, interleaved, timed
from bench.texts import sample_texts
from embedder.encoders.loading import load_encoder
from m3.codec import decode_tokens
from m3.settings import load_settings
from m3.types import F32, Codec, EmbeddingBatch, batch_of
from scoring import blas, definition
from scoring.codes import Together
from scoring.native import binding
from scoring.native.binding import InstructionSet

_TOP = 10
_PEER = "FlagEmbedding's einsum over padded tensors, torch fp32"
Score = Callable[[EmbeddingBatch], F32]


def run(
    *,
    query_tokens: int = 32,
    candidates: int = 100,
    tokens: Annotated[int, typer.Option(help="Of a chunk.")] = 180,
    dimension: int = 1024,
    chunks: Annotated[int, typer.Option(help="In the table that candidates are from.")] = 20_000,
    repeats: int = 25,
) -> Result:
    """Milliseconds on one thread and on two; the ratio is the padded einsum's over ours.

    Every run reads its own candidates, drawn at random, and only the scoring is timed: what torch
    scores is decoded to fp32 before.
    """
    query = unit_vectors(np.random.default_rng(1), query_tokens, dimension)
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        table = write_chunks(Path(folder), chunks, tokens, dimension)
        for threads in (1, 2):
            with threadpool_limits(threads):
                torch.set_num_threads(threads)
                timings = interleaved(
                    _contenders(table, query, candidates, threads), repeats=repeats, warmups=2
                )
            figures += [_figure(timing, timings[0], threads) for timing in timings]
    shape = f"{query_tokens} query tokens, {candidates} of {chunks} chunks, {tokens} x {dimension}"
    with threadpool_limits(1):
        return Result("maxsim", figures, {"shape": shape, **_fidelity()})


def _figure(timing: Timing, peer: Timing, threads: int) -> dict[str, Any]:
    return {
        "what": timing.name,
        "threads": threads,
        "ms": timing.median_wall * 1e3,
        "CPU ms": timing.median_cpu * 1e3,
        "times faster": peer.wall_ratio(timing),
        "CPU times": peer.cpu_ratio(timing),
    }


def _contenders(
    table: Chunks, query: F32, candidates: int, threads: int
) -> Mapping[str, Callable[[], Seconds]]:
    """The peer first."""

    def read() -> EmbeddingBatch:
        return table.drawn(candidates, next(seeds))

    seeds = count()
    q = torch.from_numpy(query)

    def einsum() -> Seconds:
        vectors = torch.from_numpy(_padded(read()))
        return timed(lambda: _padded_scores(q, vectors))()

    def loop() -> Seconds:
        passages = [torch.from_numpy(some) for some in _padded(read())]
        return timed(lambda: [_score(q, passage) for passage in passages])()

    def ours(score: Score) -> Callable[[], Seconds]:
        def contender() -> Seconds:
            batch = read()
            return timed(lambda: score(batch))()

        return contender

    contenders = {_PEER: einsum, "FlagEmbedding's colbert_score in a loop, torch fp32": loop}
    contenders["int8 codes, by BLAS"] = ours(
        lambda batch: blas.maxsim(query, _codes(batch), batch.codec)
    )
    for instructions in _available():
        contenders[f"int8 codes, {instructions.name}"] = ours(
            lambda batch, instructions=instructions: binding.maxsim(
                query, _codes(batch), instructions=instructions, threads=threads
            )
        )
    return contenders


def _codes(batch: EmbeddingBatch) -> Together:
    return Together(batch.codes, batch.token_offsets)


def _available() -> list[InstructionSet]:
    if binding.library() is None:
        return []
    return [one for one in InstructionSet if one <= binding.instruction_set()]


def _padded(batch: EmbeddingBatch) -> F32:
    """[n, longest, d]."""
    lengths = np.diff(batch.token_offsets)
    vectors = decode_tokens(batch.codes, batch.codec)
    padded = np.zeros((len(batch), lengths.max(), vectors.shape[1]), np.float32)
    for row, (begin, end) in enumerate(pairwise(batch.token_offsets)):
        padded[row, : end - begin] = vectors[begin:end]
    return padded


def _padded_scores(query: torch.Tensor, passages: torch.Tensor) -> torch.Tensor:
    """As `EncoderOnlyEmbedderM3ModelForInference.compute_colbert_score`."""
    similarities = torch.einsum("qin,pjn->qipj", query[None], passages)
    return similarities.max(-1).values.sum(1) / len(query)


def _score(query: torch.Tensor, passage: torch.Tensor) -> torch.Tensor:
    """As `M3Embedder.colbert_score`."""
    return torch.einsum("in,jn->ij", query, passage).max(-1).values.sum() / len(query)


def _fidelity() -> dict[str, Any]:
    """On real vectors, the sample's in the stand-in: the kernel beside the definition."""
    encoder = load_encoder(load_settings(model=str(checkpoint("stand-in")), precision="fp32"))
    rows = embedded(encoder, sample_texts("corpus.jsonl"), Codec.INT8)
    passages, vectors = batch_of(rows), [decode_tokens(row.codes, row.codec) for row in rows]
    queries = embedded(encoder, sample_texts("queries.jsonl")[:100], Codec.FP32)
    worst, shared = 0.0, 0
    for query in queries:
        tokens = decode_tokens(query.codes, query.codec)
        exact = np.array([definition.colbert_score(tokens, passage) for passage in vectors])
        found = binding.maxsim(tokens, _codes(passages))
        worst = max(worst, float(np.abs(found - exact).max()))
        best = [set(np.argsort(-some, kind="stable")[:_TOP].tolist()) for some in (found, exact)]
        shared += len(best[0] & best[1])
    return {
        "sample in the stand-in": f"{len(queries)} queries, {len(passages)} passages",
        "largest difference from the definition": worst,
        "of its ten best": shared / (_TOP * len(queries)),
    }
