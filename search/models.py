"""Bodies of the search API's collections and documents."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from m3.errors import InvalidInput
from m3.types import Codec, Context, ModelInfo, Tenancy
from serving.bodies import FEW_MEMBERS, Body, whole_number
from store.checks import MAX_FIELDS, MAX_POOLING
from store.filters import FieldType
from store.spec import Chunking, CollectionSpec


class ChunkingBody(Body):
    """How documents are cut; `whole`: one chunk each, cut off at the model's limit."""

    max_tokens: Annotated[int, Field(strict=True, ge=16), BeforeValidator(whole_number)] | None = (
        Field(default=None, description="Default: 512, or the model's limit where that is less.")
    )
    overlap: Annotated[int, Field(strict=True, ge=0), BeforeValidator(whole_number)] | None = Field(
        default=None, description="Default: 64, or half of max_tokens where that is less."
    )
    whole: bool = Field(default=False, strict=True)
    context: Context = Field(
        default="title",
        description="What the model reads before each chunk: nothing, the title, or the title "
        "and the headings it stands under.",
    )


class CollectionBody(Body):
    """A new collection, for the model that the node serves."""

    name: str = Field(
        description="Letters, digits, '-' and '_', up to 64.",
        json_schema_extra={"pattern": "^[A-Za-z0-9_-]{1,64}$"},
    )
    fields: Annotated[dict[str, FieldType], FEW_MEMBERS] = Field(
        default_factory=dict[str, FieldType],
        description="Metadata fields that may be filtered on, by name.",
        json_schema_extra={
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$"},
            "maxProperties": MAX_FIELDS,
        },
    )
    codec: Codec | None = Field(
        default=None, description="How ColBERT vectors are stored. Default: the server's setting."
    )
    chunking: ChunkingBody = Field(default_factory=ChunkingBody)
    tenancy: Tenancy = Field(
        default="shared",
        description="`shared` by any number of tenants, or the `own` of the one that asks.",
    )
    pooling: Annotated[int, Field(strict=True), BeforeValidator(whole_number)] = Field(
        default=1,
        description="Tokens of a text for which one ColBERT vector is kept, like ones together.",
        json_schema_extra={"minimum": 1, "maximum": MAX_POOLING},
    )

    def spec(self, model: ModelInfo, codec: Codec, tenant: str) -> CollectionSpec:
        """For that model, and for a tenant that asks; `codec` where the body names none.

        Raises:
            InvalidInput: chunks that the model could not read, or that would never advance.
        """
        return CollectionSpec.of(
            model,
            codec=self.codec or codec,
            chunking=self._chunking(model),
            fields=self.fields,
            owner=tenant if self.tenancy == "own" else None,
            pooling=self.pooling,
        )

    def _chunking(self, model: ModelInfo) -> Chunking:
        wanted, default = self.chunking, Chunking()
        most = wanted.max_tokens or min(default.max_tokens, model.max_tokens)
        if most > model.max_tokens:
            raise InvalidInput(
                f"chunking.max_tokens is {most}; {model.id} reads at most {model.max_tokens}"
            )
        overlap = min(default.overlap, most // 2) if wanted.overlap is None else wanted.overlap
        if overlap * 2 > most:
            raise InvalidInput(
                f"chunking.overlap is {overlap}: at most half of max_tokens ({most})"
            )
        return Chunking(most, overlap, wanted.whole, wanted.context)


class DocumentBody(Body):
    """A document, written whole in place of the one under its id."""

    text: str
    title: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])
