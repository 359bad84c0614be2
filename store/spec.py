"""What the rows of a collection are, and how its documents are cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from m3.types import Codec, Context, ModelInfo, Tenancy
from store.filters import FieldType


@dataclass(frozen=True, slots=True)
class Chunking:
    """How documents of a collection are cut.

    Attributes:
        max_tokens: of one chunk as the model reads it, title and special tokens included.
        overlap: tokens that neighbouring chunks share.
        whole: one chunk per document, cut off at the model's limit.
        context: what the model reads before each chunk, a quarter of it at most.
    """

    max_tokens: int = 512
    overlap: int = 64
    whole: bool = False
    context: Context = "title"


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What a collection's rows are; fixed for a generation's life.

    Attributes:
        fingerprint: of the model whose vectors it holds; others are refused.
        dimension: of dense and ColBERT vectors.
        fields: metadata fields that may be filtered on, by name.
        owner: the one tenant whose own the collection is; None is shared by any number of them.
        pooling: tokens for which one ColBERT vector is kept; 1 keeps each token's own.
    """

    model: str
    fingerprint: str
    precision: str
    dimension: int
    codec: Codec = Codec.INT8
    chunking: Chunking = field(default_factory=Chunking)
    fields: Mapping[str, FieldType] = field(default_factory=dict[str, FieldType])
    stand_in: bool = False
    owner: str | None = None
    pooling: int = 1

    @property
    def tenancy(self) -> Tenancy:
        return "shared" if self.owner is None else "own"

    def admits(self, tenant: str) -> bool:
        """Whether documents may be this tenant's."""
        return self.owner in (None, tenant)

    @classmethod
    def of(
        cls,
        model: ModelInfo,
        *,
        codec: Codec,
        chunking: Chunking,
        fields: Mapping[str, FieldType] | None = None,
        owner: str | None = None,
        pooling: int = 1,
    ) -> CollectionSpec:
        """What rows of this model's vectors are."""
        return cls(
            model=model.id,
            fingerprint=model.fingerprint,
            precision=model.precision,
            dimension=model.dimension,
            codec=codec,
            chunking=chunking,
            fields=fields or {},
            stand_in=model.stand_in,
            owner=owner,
            pooling=pooling,
        )
