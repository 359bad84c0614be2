"""What can encode texts: ours in its arithmetics, and its peers. Each is loaded where it is run."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from embedder.encoders.encoder import Encoder
from m3.settings import load_settings
from m3.types import OUTPUTS, Codec

MAX_LENGTH = 512


class MissingPeer(Exception):
    """It is not installed; the message names the package."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a call was made of.

    Attributes:
        tokens: computed, padding and repeated work included.
        seconds: by phase, where the contender tells them apart.
    """

    tokens: int
    seconds: dict[str, float] = field(default_factory=dict[str, float])


class Contender(Protocol):
    """A loaded model."""

    @property
    def engine(self) -> str: ...

    def __call__(self, texts: Sequence[str], batch_size: int | None) -> Ran:
        """Encode the texts of one call; `batch_size` None takes the contender's own default."""
        ...


class Launches:
    """An encoder of the node's kind without the node, answering as one does: a launch a call."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.engine = encoder.engine

    def __call__(self, texts: Sequence[str], batch_size: int | None) -> Ran:  # noqa: ARG002
        began = time.perf_counter()
        ids = [text.ids for text in self._encoder.tokenizer.tokenize(texts, MAX_LENGTH)]
        tokenised = time.perf_counter()
        finish = self._encoder.launch(ids, OUTPUTS, Codec.INT8)
        computed = time.perf_counter()
        finish()
        finished = time.perf_counter()
        return Ran(
            sum(map(len, ids)),
            {
                "tokenise": tokenised - began,
                "compute": computed - tokenised,
                "finish": finished - computed,
            },
        )


class FlagEmbedding:
    """All three outputs in fp32, as it computes on CPUs."""

    def __init__(self, folder: Path) -> None:
        from FlagEmbedding import BGEM3FlagModel

        from embedder.model.checkpoint import open_checkpoint

        pooling = open_checkpoint(folder).pooling
        self._model: Any = BGEM3FlagModel(
            str(folder), use_fp16=False, pooling_method=pooling, devices=["cpu"]
        )
        self._tokens = _TokenCount(self._model.model.model)
        self.engine = f"FlagEmbedding {version('FlagEmbedding')} fp32, torch {version('torch')}"

    def __call__(self, texts: Sequence[str], batch_size: int | None) -> Ran:
        options = {} if batch_size is None else {"batch_size": batch_size}
        before = self._tokens.count
        self._model.encode(
            list(texts),
            max_length=MAX_LENGTH,
            return_dense=True,
            return_sparse=True,
            return_colbert_vecs=True,
            **options,
        )
        return Ran(self._tokens.count - before)


class SentenceTransformers:
    """The dense vector alone, in fp32."""

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        self._model: Any = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        self._model.max_seq_length = MAX_LENGTH
        self._tokens = _TokenCount(self._model[0].auto_model)
        self.engine = f"sentence-transformers {version('sentence-transformers')} fp32, dense only"

    def __call__(self, texts: Sequence[str], batch_size: int | None) -> Ran:
        options = {} if batch_size is None else {"batch_size": batch_size}
        before = self._tokens.count
        self._model.encode(list(texts), show_progress_bar=False, **options)
        return Ran(self._tokens.count - before)


class Infinity:
    """The dense vector alone, in fp32, through its engine's queue."""

    def __init__(self, folder: Path) -> None:
        import asyncio

        try:
            infinity: Any = importlib.import_module("infinity_emb")
        except ImportError as error:
            raise MissingPeer(f"infinity-emb cannot be imported: {error}") from error
        arguments = infinity.EngineArgs(
            model_name_or_path=str(folder), engine="torch", device="cpu", dtype="float32"
        )
        self._engine: Any = infinity.AsyncEmbeddingEngine.from_args(arguments)
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._engine.astart())
        self.engine = f"infinity-emb {version('infinity-emb')} fp32, dense only"

    def __call__(self, texts: Sequence[str], batch_size: int | None) -> Ran:  # noqa: ARG002
        _, tokens = self._loop.run_until_complete(self._engine.embed(sentences=list(texts)))
        return Ran(int(tokens))


class _TokenCount:
    """Tokens that a torch model is called with, padding included."""

    def __init__(self, model: Any) -> None:
        self.count = 0
        # Of the embeddings, as some callers go around the model's own `__call__`.
        model.embeddings.register_forward_pre_hook(self._add, with_kwargs=True)

    def _add(self, _: object, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = named["input_ids"] if "input_ids" in named else arguments[0]
        self.count += int(ids.numel())


PEER = "FlagEmbedding"
PEERS: dict[str, Callable[[Path], Contender]] = {
    PEER: FlagEmbedding,
    "sentence-transformers": SentenceTransformers,
    "Infinity": Infinity,
}
OURS = ("fp32", "bf16", "int8")
"""Precisions of the node's encoder."""


def load(name: str, folder: Path, threads: int) -> Contender:
    """Load a contender in this process, which then computes with so many threads.

    Args:
        name: one of `PEERS`, `OURS` or `bench.runtimes.RUNTIMES`.

    Raises:
        MissingPeer, MissingRuntime: it is not installed.
        M3Error: ours does not compute in that precision here.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    torch.set_num_threads(threads)
    contender = _load(name, folder, threads)
    torch.set_num_threads(threads)
    return contender


def _load(name: str, folder: Path, threads: int) -> Contender:
    if name in PEERS:
        return PEERS[name](folder)
    if name in OURS:
        from embedder.encoders.loading import load_encoder

        return Launches(load_encoder(load_settings(model=str(folder), precision=name)))
    from bench.runtimes import RUNTIMES

    return Launches(RUNTIMES[name](folder, threads))
