"""`m3-ingest plan`: disk, memory and hours of a collection that is not there yet."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Annotated

import typer

from commands.console import print_json
from commands.options import Json
from ingest.sizing import Load, Size, size
from m3.errors import InvalidInput
from m3.types import Codec

_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


def add(app: typer.Typer) -> None:
    app.command(epilog="Example:\n\n`m3-ingest plan --chunks 100M --tokens 120 --nodes 8`")(plan)


def plan(
    *,
    chunks: Annotated[str, typer.Option(help="How many: 5000, 20k, 100M, 1B.", metavar="N")],
    tokens: Annotated[int, typer.Option(help="Tokens of a chunk, on average.", metavar="N")],
    codec: Annotated[Codec, typer.Option(help="How ColBERT vectors are kept.")] = Codec.INT8,
    dimension: Annotated[int, typer.Option(help="Of the model's vectors.")] = 1024,
    nodes: Annotated[int, typer.Option(help="Embedder nodes.")] = 1,
    rate: Annotated[
        float, typer.Option(help="Tokens a second that one node embeds; 306 is one core in bf16.")
    ] = 306.0,
    pooling: Annotated[
        int, typer.Option(help="Tokens for which one ColBERT vector is kept.", metavar="N")
    ] = 1,
    json: Json = False,
) -> None:
    """Calculate what a collection needs. Nothing is read or written; docs/scale.md has formulae."""
    load = Load(_count(chunks), tokens, codec, dimension, nodes, rate, pooling)
    needed = size(load)
    if json:
        print_json({**asdict(load), **asdict(needed)})
    else:
        _show(needed)


def _show(needed: Size) -> None:
    typer.echo(f"a chunk            {needed.chunk_bytes:,} bytes")
    typer.echo(f"table              {needed.table_bytes / 1e9:,.1f} GB")
    typer.echo(
        f"  at most          {needed.uncleaned_bytes / 1e9:,.1f} GB until versions are cleaned: "
        "`m3-ingest compact NAME --retention 1h`"
    )
    typer.echo(f"Milvus, FLAT       {needed.flat_bytes / 1e9:,.1f} GB of memory")
    typer.echo(f"Milvus, HNSW       {needed.hnsw_bytes / 1e9:,.1f} GB of memory")
    typer.echo(f"embedding          {needed.embedding_hours:,.1f} hours")


def _count(text: str) -> int:
    parts = re.fullmatch(r"(\d{1,15})([kmb]?)", text.strip().lower())
    if parts is None:
        raise InvalidInput(f"--chunks {text}: expected a whole number, such as 5000, 20k or 100M")
    return int(parts[1]) * _SUFFIXES[parts[2]]
