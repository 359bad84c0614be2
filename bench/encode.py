"""The packed encoder against FlagEmbedding, all three outputs, on real texts of mixed length."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import torch

from bench.measure import Result, interleaved
from embedder.encoders.encoder import encode
from embedder.encoders.loading import load_encoder
from embedder.stand_in import build
from m3.settings import load_settings
from m3.types import OUTPUTS

_SAMPLE = Path(__file__).parents[1] / "samples/xquad-en"
_BATCH_SIZES = (1, 4, 16)


def run() -> Result:
    """CPU seconds over the sample's paragraphs and as many of its questions."""
    from FlagEmbedding import BGEM3FlagModel

    texts = [*sample_texts("corpus.jsonl")[:8], *sample_texts("queries.jsonl")[:8]]
    np.random.default_rng(0).shuffle(texts)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = build(Path(folder) / "stand-in")
        encoder = load_encoder(load_settings(model=str(checkpoint), precision="fp32"))
        peer = BGEM3FlagModel(
            str(checkpoint), use_fp16=False, pooling_method="mean", devices=["cpu"]
        )

        def theirs(batch_size: int) -> Callable[[], object]:
            return lambda: peer.encode(
                texts,
                batch_size=batch_size,
                return_dense=True,
                return_sparse=True,
                return_colbert_vecs=True,
            )

        def ours() -> object:
            ids = [text.ids for text in encoder.tokenizer.tokenize(texts, encoder.info.max_tokens)]
            return encode(encoder, ids, OUTPUTS)

        contenders: dict[str, Callable[[], object]] = {"packed": ours}
        contenders |= {f"FlagEmbedding, batch {n}": theirs(n) for n in _BATCH_SIZES}
        figures = []
        for threads in sorted({1, torch.get_num_threads()}):
            torch.set_num_threads(threads)
            timings = interleaved(contenders, repeats=5)
            ours_cpu = timings[0].median_cpu
            figures += [
                {
                    "what": timing.name,
                    "threads": threads,
                    "CPU s": timing.median_cpu,
                    "wall s": timing.median_wall,
                    "CPU ratio to packed": timing.median_cpu / ours_cpu,
                }
                for timing in timings
            ]
    return Result(
        "encode", figures, {"model": "stand-in (6 layers, 384 dimensions)", "texts": len(texts)}
    )


def sample_texts(name: str) -> list[str]:
    """The texts of one file of the sample."""
    lines = (_SAMPLE / name).read_text("utf-8").splitlines()
    return [orjson.loads(line)["text"] for line in lines]
