"""A text cut where its tokens are, each with the weight the model learned for its term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of the text.

    Attributes:
        weight: of the term; None for what no token covers, as space, or the text's cut end.
    """

    text: str
    weight: float | None = None


def segments(
    text: str,
    spans: Sequence[tuple[int, int]],
    ids: Sequence[int],
    weights: Mapping[int, float],
) -> list[Segment]:
    """The whole text in order: joined, the segments are the text.

    Args:
        spans: characters [start, end) of each content token. Tokens may share characters, as
            the bytes of a rare one do: the heaviest of them counts.
        ids: of the content tokens the model read, no more than there are spans.
        weights: by id; a term without one weighs 0. A term that occurs twice has one weight,
            the larger.
    """
    found: list[Segment] = []
    cursor = 0
    for (start, end), token in zip(spans, ids, strict=False):
        weight = weights.get(token, 0.0)
        begin = _after_space(text, max(start, cursor), end)
        if begin >= end:
            if found and found[-1].weight is not None and end > start:
                found[-1] = Segment(found[-1].text, max(found[-1].weight, weight))
            continue
        if begin > cursor:
            found.append(Segment(text[cursor:begin]))
        found.append(Segment(text[begin:end], weight))
        cursor = end
    if cursor < len(text):
        found.append(Segment(text[cursor:]))
    return found


def _after_space(text: str, start: int, end: int) -> int:
    """Where the token's own characters begin: some tokenizers count the space before as theirs."""
    while start < end and text[start].isspace():
        start += 1
    return start


def by_weight(terms: Sequence[str], weights: Sequence[float]) -> list[tuple[str, float]]:
    """Terms with their weights, heaviest first."""
    pairs = zip(terms, weights, strict=True)
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
