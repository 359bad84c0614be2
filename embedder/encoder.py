"""What an encoder is: tokens in, the three representations out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from embedder.tokens import TextTokenizer
from m3.types import EmbeddingBatch, ModelInfo, Output


class Encoder(Protocol):
    """A loaded model. `encode` is called by one thread at a time, the rest by any.

    Tokenising stands apart from the forward pass, because batches are made by counting tokens.
    """

    @property
    def info(self) -> ModelInfo: ...

    @property
    def tokenizer(self) -> TextTokenizer: ...

    def encode(
        self, token_ids: Sequence[Sequence[int]], outputs: Collection[Output]
    ) -> EmbeddingBatch:
        """The representations of n ≥ 1 texts, each at most `info.max_tokens` long.

        A text's result does not depend on what else is in the call.

        Args:
            token_ids: as `TextTokenizer` gives them, special tokens included.
            outputs: columns of others are empty.

        Returns:
            A batch in `Codec.FP32`; `truncated` is False throughout, as ids are what is read.

        Raises:
            InvalidCheckpoint: the model computed a value that is not finite.
        """
        ...
