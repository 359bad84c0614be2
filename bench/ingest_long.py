"""200,000 chunks of 32 tokens in one run: whether rate and memory hold as a collection grows."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.ingest import measured
from bench.measure import Result


def run(
    *, chunks: Annotated[int, typer.Option(help="About as many.", min=100)] = 200_000
) -> Result:
    """Documents of four chunks."""
    return measured("ingest-long", chunks, 32, 4, rerun=False)
