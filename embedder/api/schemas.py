"""Bodies of a node's requests and answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from m3.types import OUTPUTS, Kind, Output


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    return text


NOT_BLANK = Field(json_schema_extra={"pattern": r"\S"})
"""Says in the schema what the validator refuses in better words."""
Text = Annotated[str, AfterValidator(_not_blank), NOT_BLANK]
Texts = Annotated[list[Text], Field(min_length=1, description="The texts, none of them empty.")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class EncodeRequest(_Strict):
    """Texts, and which representations of them."""

    input: Texts
    kind: Kind = Field(default="passage", description="Queries go before passages.")
    outputs: Annotated[list[Output], Field(min_length=1)] = list(OUTPUTS)
    max_length: int | None = Field(
        default=None, ge=3, description="Tokens to read of each text; unset: the model's limit."
    )
    truncate: bool = Field(default=True, description="False: refuse texts that are longer.")
    deadline_ms: int | None = Field(
        default=None, ge=1, description="Give up after so many milliseconds, with 504."
    )


class Sparse(BaseModel):
    """Lexical weights by vocabulary id, ids ascending."""

    indices: list[int]
    values: list[float]


class Embedding(BaseModel):
    """One text's representations; those that were not asked for are absent."""

    index: int
    tokens: int = Field(description="Tokens the model read, special ones included.")
    truncated: bool = Field(description="Whether the text was longer.")
    dense: list[float] | None = None
    sparse: Sparse | None = None
    colbert: list[list[float]] | None = None


class Usage(BaseModel):
    total_tokens: int


class EncodeAnswer(BaseModel):
    model: str
    fingerprint: str
    data: list[Embedding]
    usage: Usage


class TokenizeRequest(_Strict):
    input: Annotated[list[str], Field(min_length=1)]
    max_length: int | None = Field(default=None, ge=3, description="Unset: the model's limit.")


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
    dimension: int
    max_tokens: int
    stand_in: bool = Field(description="Whether this is the English-only stand-in.")


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]
