"""What an encoder is: tokens in, the three representations out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from embedder.model.tokens import TextTokenizer
from m3.errors import InvalidCheckpoint
from m3.types import Codec, EmbeddingBatch, ModelInfo, Output


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of n texts.

    Attributes:
        batch: their representations; rows of `unfit` hold no meaning.
        unfit: the texts for which the model computed a value that is not finite.
        padding: tokens computed beside theirs, for the shape of the batch alone.
    """

    batch: EmbeddingBatch
    unfit: frozenset[int] = frozenset()
    padding: int = 0


Launched: TypeAlias = Callable[[], Encoded]
"""Waits for what was launched and makes columns of it; called once, by any thread."""


Pause: TypeAlias = Callable[[], None]
"""A moment between layers: it may launch something else first, or raise to give the launch up.

On a GPU, between enqueuing one and the next: the layers before may still have to be computed.
"""


class Encoder(Protocol):
    """A loaded model. `launch` is called by one thread at a time, the rest by any.

    Tokenising stands apart from the forward pass, because batches are made by counting tokens.
    """

    @property
    def info(self) -> ModelInfo: ...

    @property
    def engine(self) -> str:
        """Which code computes, in one line: what a figure must name to be comparable."""
        ...

    @property
    def tokenizer(self) -> TextTokenizer: ...

    def launch(
        self,
        token_ids: Sequence[Sequence[int]],
        outputs: Collection[Output],
        codec: Codec = Codec.FP32,
        pause: Pause | None = None,
    ) -> Launched:
        """Begin with n ≥ 1 texts, each at most `info.max_tokens` long.

        What else is in the call changes no bit of a text's result on a CPU; on a GPU it may change
        how one is rounded. When this returns, the next launch may begin; what is left to the
        result does not hold it up.

        Args:
            token_ids: as `TextTokenizer` gives them, special tokens included.
            outputs: columns of others are empty.
            codec: of the batch.
            pause: called between layers, where the encoder has such a moment.

        Returns:
            What waits for the result. `truncated` is False throughout, as ids are what is read.
        """
        ...


def encode(
    encoder: Encoder,
    token_ids: Sequence[Sequence[int]],
    outputs: Collection[Output],
    codec: Codec = Codec.FP32,
) -> EmbeddingBatch:
    """The representations of n ≥ 1 texts, all of them or none.

    Raises:
        InvalidCheckpoint: the model computed a value that is not finite.
    """
    encoded = encoder.launch(token_ids, outputs, codec)()
    if encoded.unfit:
        raise InvalidCheckpoint(
            f"{encoder.info.id} computed values that are not finite for text "
            f"{min(encoded.unfit)}: its weights are unfit"
        )
    return encoded.batch
