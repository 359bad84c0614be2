"""Texts packed end to end, without padding: what a forward pass reads, made on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from embedder.model.checkpoint import Architecture
from m3.types import I32, I64


@dataclass(frozen=True, slots=True)
class Packing:
    """Texts end to end, shortest first, so that texts of equal length are neighbours.

    Attributes:
        ids: [T] int32, the tokens of the sorted texts.
        positions: [T] int32, the row of each token's position embedding.
        lengths: [n] int32, of the sorted texts.
        restore: [T] int32, where each token of the unsorted texts stands.
    """

    ids: I32
    positions: I32
    lengths: I32
    restore: I32

    @classmethod
    def of(cls, token_ids: Sequence[Sequence[int]], architecture: Architecture) -> Packing:
        given: I32 = np.array([len(ids) for ids in token_ids], np.int32)
        order = np.argsort(given, kind="stable")
        lengths: I32 = given[order]
        starts = np.empty_like(given)
        starts[order] = _starts(lengths)
        ids = np.concatenate([np.asarray(token_ids[i], np.int32) for i in order])
        restore = np.repeat(starts - _starts(given), given) + np.arange(len(ids))
        return cls(
            ids=ids,
            positions=positions_of(ids, lengths, architecture),
            lengths=lengths,
            restore=restore.astype(np.int32),
        )

    @property
    def offsets(self) -> I32:
        """[n+1] int32: where each sorted text begins and ends."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32)

    @property
    def runs(self) -> list[tuple[int, int, int]]:
        """(first token, texts, length of each): the texts of each length."""
        runs: list[tuple[int, int, int]] = []
        start = 0
        for length, group in groupby(self.lengths.tolist()):
            texts = len(list(group))
            if length:
                runs.append((start, texts, length))
            start += texts * length
        return runs

    def padded(self, tokens: int, texts: int) -> Packing:
        """At a fixed size: after the texts one of padding, then empty ones.

        No text sees the padding, which is a text of its own, and `restore` leaves it out.

        Args:
            tokens: ≥ T.
            texts: > n.
        """
        padding = np.zeros(tokens - len(self.ids), np.int32)
        empty = np.zeros(texts - len(self.lengths) - 1, np.int32)
        return replace(
            self,
            ids=np.concatenate([self.ids, padding]),
            positions=np.concatenate([self.positions, padding]),
            lengths=np.concatenate([self.lengths, np.array([len(padding)], np.int32), empty]),
        )


def _starts(lengths: I32) -> I64:
    return np.cumsum(lengths) - lengths


def positions_of(ids: I32, lengths: I32, architecture: Architecture) -> I32:
    """[T] int32: the row of each token's position embedding, for texts end to end.

    Args:
        ids: [T] int32; lengths: [n] int32, T in all.
    """
    starts = _starts(lengths)
    if architecture.model_type == "bert":
        return (np.arange(len(ids)) - np.repeat(starts, lengths)).astype(np.int32)
    # XLM-RoBERTa counts the tokens that are not padding, from the id after padding's; a
    # padding token that a text spells out itself stands at padding's own place.
    pad = architecture.pad_token_id
    counts = (ids != pad).astype(np.int64)
    seen = np.cumsum(counts)
    before = seen[starts] - counts[starts]
    return ((seen - np.repeat(before, lengths)) * counts + pad).astype(np.int32)
