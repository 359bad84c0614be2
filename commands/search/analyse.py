"""`m3-search analyse`: what a collection does with queries that nobody has judged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.console import print_json
from commands.options import EmbedderUrl, Home, Json
from m3.settings import load_settings

if TYPE_CHECKING:
    from commands.search.analysing import Report

_EXAMPLES = (
    "Examples:\n\n`m3-search analyse queries.txt --collection docs`\n\n"
    "`m3-search analyse queries.jsonl --collection docs --generation 2 --json`"
)
_SHOWN = 5


def add(app: typer.Typer) -> None:
    app.command("analyse", epilog=_EXAMPLES)(analyse)


def analyse(
    queries: Annotated[Path, typer.Argument(help="A query a line, or JSONL.", metavar="QUERIES")],
    *,
    collection: Annotated[str, typer.Option("--collection", "-c", help="Where to search.")],
    generation: Annotated[
        int | None,
        typer.Option(help="Tell how far rankings drift to this one.", show_default=False),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Tell how far they drift to this collection.", show_default=False),
    ] = None,
    good: Annotated[
        float | None,
        typer.Option(
            help="A good hit's least score.  [what is no outlier below the others]",
            show_default=False,
        ),
    ] = None,
    count: Annotated[int, typer.Option(help="Queries, drawn at random.", min=1)] = 1_000,
    depth: Annotated[int, typer.Option(help="Candidates of each leg.", min=10, max=1000)] = 100,
    json: Json = False,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """What each score contributes, what ColBERT moves, which queries have no good hit.

    From a log of queries, without judgments; near-duplicates among hits, and drift to another
    generation or collection.
    """
    from commands.search.analysing import Asked, analyse_log  # noqa: PLC0415 - keeps --help quick

    settings = load_settings(embedder_url=embedder_url, home=home)
    asked = Asked(collection, against, generation, good, count, depth)
    found = asyncio.run(analyse_log(queries, settings, asked))
    if json:
        print_json(_as_json(found))
    else:
        _show(found)


def _as_json(found: Report) -> dict[str, Any]:
    return {
        "collection": found.collection,
        "analysis": found.analysis,
        "near_duplicates": {
            "queries": len(found.duplicates.queries()),
            "pairs": found.duplicates.pairs,
        },
        "drift": found.drift,
    }


def _show(found: Report) -> None:
    of = found.analysis
    typer.echo(f"{found.collection}: {of.queries:,} queries, {of.depth} candidates of each leg")
    overlap = ", ".join(f"{share:.0%} of {depth}" for depth, share in of.overlap.items())
    _line("both legs find", overlap)
    _line(
        "the first ten",
        f"{of.found.both:.0%} found by both legs, {of.found.dense_alone:.0%} by dense alone, "
        f"{of.found.sparse_alone:.0%} by sparse alone",
    )
    moved = of.colbert
    _line(
        "ColBERT",
        f"another first hit in {moved.first_changed:.0%} of queries; brings {moved.brought_in:.0%} "
        f"of the first ten in from below; {_quantiles(moved.places)} places",
    )
    for name, quantiles in of.scores.items():
        _line(f"{name} score", _quantiles(quantiles))
    pairs = found.duplicates.pairs
    _line("near-duplicates", f"{len(pairs)} pairs in {len(found.duplicates.queries())} queries")
    _line("no good hit", f"{len(of.weak)} queries (best score below {of.good:.4f})")
    for each in (of.weak or of.weakest)[:_SHOWN]:
        best = "none" if each.best is None else f"{each.best:.4f}"
        typer.echo(f"    {best:>8}  {each.text}")
    if found.drift is not None:
        _line(
            "drift",
            f"{found.drift.overlap:.3f} of rankings kept (rank-biased overlap); another first hit "
            f"in {found.drift.first_changed:.0%} of queries",
        )
    typer.echo("  in brackets: 5, 25, 50, 75 and 95 of 100 are at most that")


def _line(name: str, fact: str) -> None:
    typer.echo(f"  {name:16} {fact}")


def _quantiles(of: Any) -> str:
    return f"[{' '.join(f'{value:g}' for value in of)}]"
