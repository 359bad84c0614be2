"""A second run over 100,000 documents that are as they were: seconds, and calls of the encoder."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.ingest import measured
from bench.measure import Result


def run(*, documents: Annotated[int, typer.Option(min=100)] = 100_000) -> Result:
    """Documents of one chunk of 32 tokens."""
    return measured("ingest-unchanged", documents, 32, 1)
