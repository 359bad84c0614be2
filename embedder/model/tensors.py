"""An encoder's tensors, each taken with the shape it must have."""

from __future__ import annotations

from torch import Tensor

from embedder.model.checkpoint import Checkpoint
from m3.errors import InvalidCheckpoint


class Tensors:
    """A checkpoint's weights as they lie in their file: mapped, and of the file's type."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._tensors = checkpoint.weights()
        self._path = checkpoint.path
        self._vocabulary = checkpoint.tokenizer.vocabulary
        self._size = checkpoint.architecture.hidden_size

    def take(self, name: str, *shape: int | None) -> Tensor:
        """One tensor; None stands for any size.

        Raises:
            InvalidCheckpoint: it is missing, or of another shape.
        """
        tensor = self._tensors.get(name)
        if tensor is None:
            raise InvalidCheckpoint(f"{self._path}: the weights lack {name}")
        found = tuple(tensor.shape)
        if len(found) != len(shape) or any(
            wanted not in (None, size) for wanted, size in zip(shape, found, strict=True)
        ):
            raise InvalidCheckpoint(
                f"{self._path}: {name} is of shape {found}, which does not fit config.json"
            )
        return tensor

    def pair(self, name: str, size_in: int, size_out: int) -> tuple[Tensor, Tensor]:
        """A linear layer's weight [out, in] and bias [out]."""
        return self.take(f"{name}.weight", size_out, size_in), self.take(f"{name}.bias", size_out)

    def words(self) -> Tensor:
        """[vocabulary, d]. Raises InvalidCheckpoint where the tokenizer has more tokens."""
        words = self.take("embeddings.word_embeddings.weight", None, self._size)
        if len(words) < self._vocabulary:
            raise InvalidCheckpoint(
                f"{self._path}: the tokenizer has {self._vocabulary} tokens, the model {len(words)}"
            )
        return words

    def positions(self) -> Tensor:
        """[positions, d] fp32, the type of single texts included: they are all of type 0."""
        positions = self.take("embeddings.position_embeddings.weight", None, self._size)
        types = self.take("embeddings.token_type_embeddings.weight", None, self._size)
        return positions.float() + types[0].float()
