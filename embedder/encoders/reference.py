"""FlagEmbedding's own BGE-M3 behind the encoder contract: what ours is held against."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from embedder.encoders.columns import assemble, convert
from embedder.encoders.encoder import Encoded, Launched, Pause
from embedder.encoders.transfer import current_device
from embedder.model.checkpoint import Checkpoint
from embedder.model.tokens import TextTokenizer
from m3.errors import InvalidCheckpoint, InvalidConfiguration
from m3.settings import Precision
from m3.types import Codec, ModelInfo, Output, offsets_of


class ReferenceEncoder:
    """fp32, one text at a time: FlagEmbedding's batches change what they compute."""

    def __init__(self, checkpoint: Checkpoint, precision: Precision = "auto") -> None:
        """Load with the pooling the checkpoint records, where FlagEmbedding assumes cls.

        Raises:
            InvalidConfiguration: another precision than fp32.
            InvalidCheckpoint: heads in safetensors, which FlagEmbedding does not read.
        """
        if precision not in ("auto", "fp32"):
            raise InvalidConfiguration(f"precision {precision}: the reference computes in fp32")
        if not (checkpoint.path / "sparse_linear.pt").exists():
            raise InvalidCheckpoint(
                f"{checkpoint.path}: FlagEmbedding needs sparse_linear.pt and colbert_linear.pt"
            )
        # Else transformers imports TensorFlow wherever it is installed.
        os.environ.setdefault("TRANSFORMERS_NO_TF", "1")
        from FlagEmbedding import BGEM3FlagModel  # noqa: PLC0415 - ten seconds

        self._info = checkpoint.info("fp32")
        self._tokenizer = checkpoint.tokenizer
        self._model: Any = BGEM3FlagModel(
            str(checkpoint.path),
            use_fp16=False,
            devices=str(current_device()),  # else a process of its own for each GPU
            pooling_method=checkpoint.pooling,
            batch_size=2,  # one text a call; below the batch size no progress bar is drawn
        )
        self._model.tokenizer = _Tokenized(self._model.tokenizer)

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def tokenizer(self) -> TextTokenizer:
        return self._tokenizer

    @property
    def engine(self) -> str:
        return f"FlagEmbedding {version('FlagEmbedding')} fp32"

    def launch(
        self,
        token_ids: Sequence[Sequence[int]],
        outputs: Collection[Output],
        codec: Codec = Codec.FP32,
        pause: Pause | None = None,  # noqa: ARG002 - one text at a time
    ) -> Launched:
        """See `Encoder.launch`."""
        results: list[Any] = [
            self._model.encode(
                [list(ids)],
                return_dense="dense" in outputs,
                return_sparse="sparse" in outputs,
                return_colbert_vecs="colbert" in outputs,
            )
            for ids in token_ids
        ]
        batch = assemble(
            token_ids,
            self._info,
            dense=np.concatenate([result["dense_vecs"] for result in results])
            if "dense" in outputs
            else None,
            lexical=_lexical([result["lexical_weights"][0] for result in results])
            if "sparse" in outputs
            else None,
            colbert=np.concatenate([result["colbert_vecs"][0] for result in results])
            if "colbert" in outputs
            else None,
        )
        return lambda: Encoded(convert(batch, codec))


class _Tokenized:
    """FlagEmbedding's tokenizer for texts that are token ids already."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, texts: list[list[int]], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": texts, "attention_mask": [[1] * len(ids) for ids in texts]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def _lexical(weights: list[dict[str, Any]]) -> tuple[Any, Any, Any]:
    terms = [sorted((int(term), float(w)) for term, w in text.items()) for text in weights]
    flat = [term for text in terms for term in text]
    return (
        offsets_of([len(text) for text in terms]),
        np.array([term for term, _ in flat], np.int32),
        np.array([weight for _, weight in flat], np.float32),
    )
