"""Bodies of a node's requests and answers."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    WithJsonSchema,
)

from m3.types import OUTPUTS, Kind, Output
from serving.bodies import Body, whole_number


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    return text


TEXT_SCHEMA = {"type": "string", "pattern": r"\S"}
"""Says in the schema what the validator refuses in better words."""
Text = Annotated[str, AfterValidator(_not_blank), WithJsonSchema(TEXT_SCHEMA)]
MOST_TEXTS = 65_536
"""More than `max_request_texts` may be: a longer list is not even looked through."""
LARGEST = 2**31 - 1


Count = Annotated[int, Field(strict=True, ge=1, le=LARGEST), BeforeValidator(whole_number)]
Length = Annotated[int, Field(strict=True, ge=3, le=LARGEST), BeforeValidator(whole_number)]
"""Tokens to read of a text, its two special ones and one more at least."""
Texts = Annotated[
    list[Text],
    FailFast(),
    Field(min_length=1, max_length=MOST_TEXTS, description="The texts, none of them empty."),
]
Encoding: TypeAlias = Literal["float", "base64", "base64-fp16"]


class _Strict(Body):
    model_config = ConfigDict(strict=True)


class EncodeRequest(_Strict):
    """Texts, and which representations of them."""

    input: Texts
    kind: Kind = Field(default="passage", description="Queries go before passages.")
    outputs: list[Output] = Field(default=list(OUTPUTS), min_length=1, max_length=len(OUTPUTS))
    encoding: Encoding = Field(
        default="float",
        description="How vectors are written in JSON: lists of numbers, or base64 of their "
        "little-endian fp32 or fp16 values, which is a fraction of the bytes.",
    )
    max_length: Length | None = Field(
        default=None,
        description="Tokens to read of each text; unset: the model's limit.",
    )
    truncate: bool = Field(
        default=True,
        description="Whether texts that are longer are cut; if not, one that is answers 400.",
    )
    deadline_ms: Count | None = Field(
        default=None, description="Give up after so many milliseconds, with 504."
    )


class Sparse(BaseModel):
    """Lexical weights by vocabulary id, ids ascending."""

    indices: list[int]
    values: list[float]


Base64 = Annotated[str, Field(json_schema_extra={"contentEncoding": "base64"})]


class Embedding(BaseModel):
    """One text's representations; those that were not asked for are absent."""

    index: int
    tokens: int = Field(description="Tokens the model read, special ones included.")
    truncated: bool = Field(description="Whether the text was longer.")
    dense: list[float] | Base64 | None = None
    sparse: Sparse | None = None
    colbert: list[list[float]] | Base64 | None = Field(
        default=None,
        description="[tokens - 1, dimension]: a vector for every token but the first; in base64 "
        "row after row.",
    )


class Usage(BaseModel):
    total_tokens: int


class EncodeAnswer(BaseModel):
    model: str
    fingerprint: str
    data: list[Embedding]
    usage: Usage


class TokenizeRequest(_Strict):
    input: Annotated[list[str], FailFast(), Field(min_length=1, max_length=MOST_TEXTS)]
    max_length: Length | None = Field(default=None, description="Unset: the model's limit.")


class TokenizedItem(BaseModel):
    index: int
    ids: list[int]
    pieces: list[str]
    truncated: bool


class TokenizeAnswer(BaseModel):
    model: str
    fingerprint: str
    data: list[TokenizedItem]


class Model(BaseModel):
    """A model as `/v1/models` lists it: OpenAI's members and ours."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "m3-retrieval"
    fingerprint: str = Field(description="Equal for equal vectors, whatever the machine.")
    precision: str
    engine: str = Field(description="Which code computes; figures are comparable where it is.")
    dimension: int
    max_tokens: int
    stand_in: bool = Field(description="Whether this is the English-only stand-in.")


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]
