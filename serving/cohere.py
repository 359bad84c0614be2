"""The answer to a rerank, and its errors, in Cohere's and Jina's shape; both HTTP faces have it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from serving.problems import Problem


class RerankScores(BaseModel):
    dense: float
    sparse: float
    colbert: float


class RerankDocument(BaseModel):
    text: str


class RerankResult(BaseModel):
    index: int = Field(description="Place among the request's documents.")
    relevance_score: float = Field(description="Σwᵢsᵢ / Σwᵢ of the scores; not a probability.")
    scores: RerankScores
    document: RerankDocument | None = None


class ApiVersion(BaseModel):
    version: str


class BilledUnits(BaseModel):
    input_tokens: int


class RerankMeta(BaseModel):
    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: BilledUnits


class RerankUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class RerankAnswer(BaseModel):
    """Results by score, the best first; equal ones in the order of the request."""

    id: str = Field(description="The request's id.")
    model: str
    fingerprint: str
    results: list[RerankResult]
    meta: RerankMeta
    usage: RerankUsage


class RerankError(BaseModel):
    """A problem document, its detail as Cohere's clients look for it too."""

    message: str
    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


def error_shape(problem: Problem) -> dict[str, Any]:
    """A problem as `RerankError`."""
    return {"message": problem.detail, **problem.document()}
