"""What a node's arithmetic costs on judged documents: several nodes, each beside the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from threadpoolctl import threadpool_limits

from admin.codecs import KINDS, Scored, Texts, embed, overlap_of, told, values_of
from admin.table import Table
from evaluation.measuring.comparing import compare
from m3.settings import Settings

_FP32 = KINDS[0]


async def nodes(
    settings: Settings, folder: Path, urls: Sequence[str], *, documents: int, queries: int
) -> Table:
    """The same texts by every node, one after the other. Raises as `admin.codecs.embed`."""
    return beside(
        [
            await embed(settings, folder, documents=documents, queries=queries, url=url)
            for url in urls
        ]
    )


def beside(found: Sequence[Texts]) -> Table:
    """A row a node: its speed, its quality, and what differs from the first's."""
    with threadpool_limits(1, user_api="blas"):
        scored = [Scored.of(texts, _FP32) for texts in found]
    first = scored[0]
    base = values_of(found[0], first.fused)
    rows: list[Sequence[object]] = []
    for texts, one in zip(found, scored, strict=True):
        values = values_of(texts, one.fused)
        rows.append(
            (
                texts.precision,
                round(int(texts.documents.tokens.sum()) / texts.seconds, 1),
                float(values.mean()),
                float(values_of(texts, one.colbert).mean()),
                overlap_of(one.fused, first.fused),
                "" if one is first else told(compare("nDCG@10", base, values)),
            )
        )
    columns = (
        "precision", "tokens a second", "fusion nDCG@10", "ColBERT nDCG@10",
        "ten best as the first's", "fusion against the first",
    )  # fmt: skip
    stand_in = ", English-only stand-in" if found[0].stand_in else ""
    caption = (
        f"{found[0].name}: {len(found[0].ids):,} documents{stand_in}; speed as this machine is now"
    )
    return Table(columns, rows, caption)
