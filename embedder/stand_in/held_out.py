"""Sparse heads on sources they were not fitted to: `python -m embedder.stand_in.held_out PAIRS`.

PAIRS is as `train` reads it, with each pair's source under `src`. For each source, heads are fitted
to the pairs of the others, and its queries look for their passages among all of its own, by lexical
scores alone.
"""

# torch leaves untyped much of what training uses.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import torch
import typer

from embedder.stand_in.train import SparseHead, Texts, read_pairs, train_sparse

EPOCHS = (0, 1, 3)
_AT_ONCE = 64
_CUTOFF = 10


def main(
    pairs: Annotated[Path, typer.Argument(help="JSON lines of q, d and src.")],
    every: Annotated[int, typer.Option(help="Take one pair of so many.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Of the order of pairs.")] = 0,
) -> None:
    """Print nDCG@10 by source and by epochs after the ridge regression; `train` has one."""
    records = [orjson.loads(line) for line in pairs.read_bytes().splitlines()][::every]
    checkpoint, queries, passages = read_pairs(records)
    for source in sorted({record["src"] for record in records}):
        held = [i for i, record in enumerate(records) if record["src"] == source]
        others = [i for i, record in enumerate(records) if record["src"] != source]
        found: list[str] = []
        for epochs in EPOCHS:
            torch.manual_seed(seed)
            head = train_sparse(queries.only(others), passages.only(others), checkpoint, epochs)
            value = ndcg(head, queries.only(held), passages.only(held))
            found.append(f"{epochs} epochs {value:.4f}")
        typer.echo(f"{source}, {len(held)} pairs: {', '.join(found)}")


@torch.no_grad()
def ndcg(head: SparseHead, queries: Texts, passages: Texts) -> float:
    """nDCG@10, where only a query's own passage answers it; equal scores share their places."""
    rows = torch.arange(len(queries.ids)).split(_AT_ONCE)
    known = torch.cat([head(*passages.batch(part.tolist())) for part in rows])
    gains: list[torch.Tensor] = []
    for part in rows:
        scores = head(*queries.batch(part.tolist())) @ known.T
        own = scores[torch.arange(len(part)), part][:, None]
        place = 1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2
        gains.append(torch.where(place <= _CUTOFF, 1 / torch.log2(place + 1), 0.0))
    return float(torch.cat(gains).mean())


if __name__ == "__main__":
    typer.run(main)
