"""Bodies of the search API. Unknown fields are refused, so that a misspelt one is told."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from m3.errors import InvalidInput
from m3.types import DEFAULT_TENANT, Codec, Context, ModelInfo
from scoring.fusion import PRESETS, Method, Weights, preset_named
from search.request import MAX_CANDIDATES, SearchRequest
from store.contract import Chunking, CollectionSpec
from store.filters import FieldType
from store.words import MAX_CHARACTERS, MAX_WORDS


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _bounds(least: int, most: int) -> dict[str, Any]:
    """For the reader of the API's description; `SearchRequest` is what holds them."""
    return {"minimum": least, "maximum": most}


Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Phrases = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]],
    Field(max_length=MAX_WORDS),
]


class WeightsBody(_Body):
    """How much each score counts; one that is left out counts as 0. Only ratios matter."""

    dense: Number = 0.0
    sparse: Number = 0.0
    colbert: Number = 0.0


def _kind_of_weights(value: Any) -> str | None:
    if isinstance(value, str):
        return "preset"
    return "object" if isinstance(value, dict | WeightsBody) else None


AnyWeights = Annotated[
    Annotated[WeightsBody, Tag("object")] | Annotated[str, Tag("preset")],
    Discriminator(
        _kind_of_weights,
        custom_error_type="weights",
        custom_error_message="Input should be an object of dense, sparse and colbert, "
        "or a preset's name",
    ),
]


class SearchBody(_Body):
    """A search as JSON."""

    query: str = Field(description="At most 20,000 characters, and what the model reads at once.")
    collection: str
    method: Method = Method.FUSION
    weights: AnyWeights | None = Field(
        default=None,
        description=f"In place of the method's: an object, or a preset: {', '.join(PRESETS)}.",
    )
    top_k: Whole = Field(default=10, json_schema_extra=_bounds(1, MAX_CANDIDATES))
    candidates: Whole | None = Field(
        default=None,
        description="How deep each leg is searched, at least offset + top_k; the same on every "
        "page. Default: 100, or top_k where that is more.",
        json_schema_extra=_bounds(1, MAX_CANDIDATES),
    )
    offset: Whole = Field(default=0, json_schema_extra=_bounds(0, MAX_CANDIDATES - 1))
    filter: dict[str, Any] | None = Field(
        default=None,
        description="Over the collection's declared fields: "
        '`{"field": "lang", "op": "eq", "value": "en"}` with eq, ne, lt, lte, gt, gte, in, '
        'contains, exists; `{"and": […]}`, `{"or": […]}`, `{"not": …}`.',
    )
    must: Phrases = Field(
        default_factory=list[str],
        description="Words or phrases that a hit's title or text has, as whole words, whatever "
        "their case.",
    )
    must_not: Phrases = Field(
        default_factory=list[str],
        description="Words or phrases that neither title nor text of a hit has.",
    )
    explain: bool = Field(
        default=False, strict=True, description="Each score's share, and the terms that matched."
    )

    def request(self, tenant: str = DEFAULT_TENANT) -> SearchRequest:
        """Raises InvalidInput for values out of their range."""
        fields = self.model_dump(exclude={"weights", "must", "must_not"})
        return SearchRequest(
            **fields,
            weights=self._weights(),
            must=tuple(self.must),
            must_not=tuple(self.must_not),
            tenant=tenant,
        )

    def _weights(self) -> Weights | None:
        match self.weights:
            case None:
                return None
            case str(name):
                return preset_named(name)
            case WeightsBody(dense=dense, sparse=sparse, colbert=colbert):
                return Weights(dense, sparse, colbert)


def search_request(body: Any) -> SearchRequest:
    """A search from its JSON form, where no HTTP face reads it.

    Raises:
        InvalidInput: in the words that the HTTP face uses.
    """
    try:
        return SearchBody.model_validate(body).request()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{place}: {first['msg']}") from error


class ChunkingBody(_Body):
    """How documents are cut; `whole`: one chunk each, cut off at the model's limit."""

    max_tokens: Whole | None = Field(
        default=None, ge=16, description="Default: 512, or the model's limit where that is less."
    )
    overlap: Whole | None = Field(
        default=None, ge=0, description="Default: 64, or half of max_tokens where that is less."
    )
    whole: bool = Field(default=False, strict=True)
    context: Context = Field(
        default="title",
        description="What the model reads before each chunk: nothing, the title, or the title "
        "and the headings it stands under.",
    )


class CollectionBody(_Body):
    """A new collection, for the model that the node serves."""

    name: str = Field(description="Letters, digits, '-' and '_', up to 64.")
    fields: dict[str, FieldType] = Field(
        default_factory=dict[str, FieldType],
        description="Metadata fields that may be filtered on, by name.",
    )
    codec: Codec | None = Field(
        default=None, description="How ColBERT vectors are stored. Default: the server's setting."
    )
    chunking: ChunkingBody = Field(default_factory=ChunkingBody)

    def spec(self, model: ModelInfo, codec: Codec) -> CollectionSpec:
        """For that model; `codec` where the body names none.

        Raises:
            InvalidInput: chunks that the model could not read, or that would never advance.
        """
        return CollectionSpec.of(
            model,
            codec=self.codec or codec,
            chunking=self._chunking(model),
            fields=self.fields,
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


class DocumentBody(_Body):
    """A document, written whole in place of the one under its id."""

    text: str
    title: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])
