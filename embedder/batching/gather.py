"""From the batches that a request's texts were computed in to the request's own columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from embedder.batching.jobs import Place
from embedder.encoders.columns import convert, select
from embedder.model.tokens import TokenizedText
from m3.types import I64, Codec, EmbeddingBatch, Output


def gather(
    places: Sequence[Place],
    texts: Sequence[TokenizedText],
    outputs: Collection[Output],
    codec: Codec,
) -> EmbeddingBatch:
    """The rows at n ≥ 1 places, in their order, with no other columns than `outputs`.

    Rows that stand together in one batch are views of it: a request that was computed in one
    batch is not copied.

    Args:
        places: in batches of `codec`, or of FP32.
        texts: what was read at each place.
    """
    parts = [_written(select(_rows(*run), outputs), codec) for run in _runs(places)]
    return replace(
        parts[0] if len(parts) == 1 else _joined(parts),
        tokens=np.array([len(text.ids) for text in texts], np.int32),
        truncated=np.array([text.truncated for text in texts], np.bool_),
    )


def _runs(places: Sequence[Place]) -> Iterator[tuple[EmbeddingBatch, int, int]]:
    """Places that follow each other in one batch, as (batch, first row, row after the last)."""
    batch, start = places[0]
    stop = start + 1
    for other, row in places[1:]:
        if other is batch and row == stop:
            stop += 1
            continue
        yield batch, start, stop
        batch, start, stop = other, row, row + 1
    yield batch, start, stop


def _rows(batch: EmbeddingBatch, start: int, stop: int) -> EmbeddingBatch:
    sparse, tokens = (
        slice(int(offsets[start]), int(offsets[stop]))
        for offsets in (batch.sparse_offsets, batch.token_offsets)
    )
    return replace(
        batch,
        dense=batch.dense[start:stop],
        sparse_offsets=batch.sparse_offsets[start : stop + 1] - sparse.start,
        sparse_ids=batch.sparse_ids[sparse],
        sparse_weights=batch.sparse_weights[sparse],
        token_offsets=batch.token_offsets[start : stop + 1] - tokens.start,
        token_ids=batch.token_ids[tokens],
        codes=batch.codes[tokens],
        tokens=batch.tokens[start:stop],
        truncated=batch.truncated[start:stop],
    )


def _written(batch: EmbeddingBatch, codec: Codec) -> EmbeddingBatch:
    return batch if batch.codec is codec else convert(batch, codec)


def _joined(parts: Sequence[EmbeddingBatch]) -> EmbeddingBatch:
    return replace(
        parts[0],
        dense=np.concatenate([part.dense for part in parts]),
        sparse_offsets=_joined_offsets([part.sparse_offsets for part in parts]),
        sparse_ids=np.concatenate([part.sparse_ids for part in parts]),
        sparse_weights=np.concatenate([part.sparse_weights for part in parts]),
        token_offsets=_joined_offsets([part.token_offsets for part in parts]),
        token_ids=np.concatenate([part.token_ids for part in parts]),
        codes=np.concatenate([part.codes for part in parts]),
    )


def _joined_offsets(parts: Sequence[I64]) -> I64:
    lengths = np.concatenate([np.diff(offsets) for offsets in parts])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
