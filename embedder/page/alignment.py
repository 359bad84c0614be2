"""Which of a passage's tokens each of a query's tokens finds: what MaxSim sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from m3.codec import decode_tokens
from m3.errors import InvalidInput
from m3.types import F32, Representation
from scoring.definition import colbert_score

Pieces = Callable[[Sequence[int]], list[str]]


@dataclass(frozen=True, slots=True)
class Alignment:
    """Query tokens against passage tokens.

    Attributes:
        query: m tokens as the vocabulary writes them; passage: n of them.
        similarity: [m, n] fp32, inner products of their vectors.
        best: the passage token that each query token finds, the first of equal ones.
        score: MaxSim, the mean over the query tokens of what they find.
    """

    query: list[str]
    passage: list[str]
    similarity: F32
    best: list[int]
    score: float


def align(query: Representation, passage: Representation, pieces: Pieces) -> Alignment:
    """Raises InvalidInput where one of the texts has no token vector."""
    rows = decode_tokens(query.codes, query.codec)
    columns = decode_tokens(passage.codes, passage.codec)
    if not len(rows) or not len(columns):
        raise InvalidInput("there is nothing to align: a text has no token")
    similarity = rows @ columns.T
    return Alignment(
        pieces(query.token_ids.tolist()),
        pieces(passage.token_ids.tolist()),
        similarity,
        similarity.argmax(axis=1).tolist(),
        colbert_score(rows, columns),
    )
