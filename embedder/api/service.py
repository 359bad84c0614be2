"""What a node does with texts, whatever door they came through."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from embedder.api.lengths import SHORTEST, Lengths
from embedder.batching.queue import Batcher
from embedder.metrics import NodeMetrics
from embedder.model.tokens import TextTokenizer, TokenizedText
from m3 import tracing
from m3.errors import InvalidInput, M3Error
from m3.types import OUTPUTS, Codec, EmbeddingBatch, Kind, ModelInfo, Output

_FEW_CHARACTERS = 4096
"""About a millisecond's: tokenised where they are, as handing them to a thread takes longer."""


@dataclass(frozen=True, slots=True)
class EmbeddingService:
    """A model that workers compute, behind its queue.

    Attributes:
        engine: see `Encoder.engine`.
    """

    info: ModelInfo
    engine: str
    tokenizer: TextTokenizer
    batcher: Batcher
    metrics: NodeMetrics
    lengths: Lengths = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", Lengths(self.info.max_tokens))

    async def encode(
        self,
        texts: Sequence[str],
        kind: Kind,
        *,
        outputs: Collection[Output] = OUTPUTS,
        codec: Codec = Codec.FP32,
        max_length: int | None = None,
        truncate: bool = True,
        timeout: float | None = None,  # noqa: ASYNC109 - bounds the wait in the queue too
    ) -> EmbeddingBatch:
        """Texts to embeddings.

        Raises:
            InvalidInput: a length the model does not have, or a text that is too long where
                it may not be cut; the message names the item.
            M3Error: what `Batcher.submit` raises.
        """
        self.refuse_if_full(texts, kind, max_length=max_length, timeout=timeout)
        tokenized = await self.tokenize(texts, max_length)
        if not truncate:
            refuse_truncated(tokenized, max_length or self.info.max_tokens)
        return await self.encode_tokens(
            tokenized, kind, outputs=outputs, codec=codec, timeout=timeout
        )

    async def encode_tokens(
        self,
        tokenized: Sequence[TokenizedText],
        kind: Kind,
        *,
        outputs: Collection[Output] = OUTPUTS,
        codec: Codec = Codec.FP32,
        timeout: float | None = None,  # noqa: ASYNC109 - bounds the wait in the queue too
    ) -> EmbeddingBatch:
        """As `encode`, for what is tokenised already."""
        try:
            return await self.batcher.submit(tokenized, kind, outputs, codec, timeout)
        except M3Error as error:
            self.metrics.errors.labels(error.code).inc()
            raise

    def refuse_if_full(
        self,
        texts: Sequence[str] | Sequence[Sequence[int]],
        kind: Kind,
        *,
        max_length: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Refuse what would be refused anyway, before the work of tokenising it.

        Args:
            texts: as they came, or their token ids.
            max_length: tokens that are read of each; unset: the model's limit.

        Raises:
            Overloaded: so many texts of such length cannot wait now; when to come back.
        """
        try:
            self.batcher.refuse_if_full(kind, self.lengths.tokens(texts, max_length), timeout)
        except M3Error as error:
            self.metrics.errors.labels(error.code).inc()
            raise

    async def tokenize(
        self, texts: Sequence[str], max_length: int | None = None
    ) -> list[TokenizedText]:
        """What the model would read of each text."""
        limit = self.info.max_tokens
        length = max_length if max_length is not None else limit
        if not SHORTEST <= length <= limit:
            raise InvalidInput(f"max_length: {length} is not within {SHORTEST} and {limit}")
        with self.metrics.seconds.labels("tokenize").time(), tracing.span("node.tokenize"):
            if sum(map(len, texts)) <= _FEW_CHARACTERS:
                tokenized = self.tokenizer.tokenize(texts, length)
            else:
                tokenized = await asyncio.to_thread(self.tokenizer.tokenize, texts, length)
        self.lengths.learn(texts, tokenized)
        return tokenized


def refuse_truncated(tokenized: Sequence[TokenizedText], limit: int) -> None:
    """Raises InvalidInput for the first text that was longer than `limit`."""
    for index, text in enumerate(tokenized):
        if text.truncated:
            raise InvalidInput(
                f"input[{index}]: the text is longer than {limit} tokens and truncate is false"
            )
