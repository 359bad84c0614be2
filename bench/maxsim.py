"""MaxSim of one query over 100 candidates, against FlagEmbedding's loop in torch."""

# torch leaves untyped much of what is used here.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from bench.measure import Result, Seconds, interleaved, timed
from m3.codec import decode_tokens, encode_tokens
from m3.types import F32, Codec, offsets_of
from scoring.maxsim import maxsim

QUERY_TOKENS, CANDIDATES, TOKENS, DIMENSION = 32, 100, 180, 1024


def run() -> Result:
    """Milliseconds on one thread and on all; the ratio is the loop's over ours."""
    rng = np.random.default_rng(0)
    query, passages = _unit(rng, QUERY_TOKENS), _unit(rng, CANDIDATES * TOKENS)
    offsets = offsets_of([TOKENS] * CANDIDATES)
    codes = {codec: encode_tokens(passages, codec) for codec in Codec}
    contenders: dict[str, Callable[[], Seconds]] = {
        "FlagEmbedding's loop, torch fp32": timed(lambda: _loop(query, passages)),
    }
    for codec in Codec:
        contenders[f"scoring.maxsim, {codec}"] = timed(
            partial(maxsim, query, codes[codec], offsets, codec)
        )
    figures: list[dict[str, Any]] = []
    for threads in sorted({1, torch.get_num_threads()}):
        with threadpool_limits(threads):
            torch.set_num_threads(threads)
            timings = interleaved(contenders, repeats=15, warmups=2)
        peer = timings[0].median_wall
        figures += [
            {
                "what": timing.name,
                "threads": threads,
                "ms": timing.median_wall * 1e3,
                "times faster": peer / timing.median_wall,
            }
            for timing in timings
        ]
    worst = np.abs(
        maxsim(query, codes[Codec.INT8], offsets, Codec.INT8)
        - _loop(query, decode_tokens(codes[Codec.INT8], Codec.INT8))
    ).max()
    return Result("maxsim", figures, {"largest difference on the decoded int8 rows": float(worst)})


def _loop(query: F32, passages: F32) -> F32:
    """As `BGEM3FlagModel.colbert_score`, a passage at a time."""
    q = torch.from_numpy(query)
    scores = [
        torch.einsum("in,jn->ij", q, torch.from_numpy(some)).max(-1).values.sum() / len(query)
        for some in np.split(passages, CANDIDATES)
    ]
    return torch.stack(scores).numpy()


def _unit(rng: np.random.Generator, rows: int) -> F32:
    vectors = rng.standard_normal((rows, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
