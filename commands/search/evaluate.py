"""`m3-search eval`: what a judged collection's rankings are worth."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from commands.console import SOME_FAILED, print_json
from commands.options import EmbedderUrl, Home, Json
from commands.search.options import SPLIT, AllowUnknown, Split
from m3.settings import load_settings

_EXAMPLES = (
    "Examples:\n\n`m3-search eval ./scifact`\n\n"
    "`m3-search eval ./scifact --methods dense,fusion --json`\n\n"
    "`m3-search eval ./scifact --floor fusion:nDCG@10=0.66 --per-query scifact.csv`"
)


def add(app: typer.Typer) -> None:
    app.command("eval", epilog=_EXAMPLES)(evaluate)


def evaluate(
    folder: Annotated[
        Path, typer.Argument(help="corpus.jsonl, queries.jsonl, qrels/test.tsv.", metavar="DIR")
    ],
    *,
    collection: Annotated[
        str | None,
        typer.Option("--collection", "-c", help="In place of its own.", show_default=False),
    ] = None,
    split: Split = SPLIT,
    methods: Annotated[
        str | None,
        typer.Option(help="Comma-separated.  [all]", metavar="M,M,…", show_default=False),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: nDCG@k, Recall@k, MRR@k, MAP, MAP@k.  "
            "[nDCG@10,Recall@100,MRR@10,MAP]",
            metavar="M,M,…",
            show_default=False,
        ),
    ] = None,
    depth: Annotated[int, typer.Option(help="Candidates of each leg.", min=1, max=1000)] = 200,
    floor: Annotated[
        list[str] | None,
        typer.Option(
            help="Exit with 1 if a figure is lower: fusion:nDCG@10=0.70; may be repeated.",
            metavar="M:M=X",
            show_default=False,
        ),
    ] = None,
    allow_unknown: AllowUnknown = False,
    per_query: Annotated[
        Path | None,
        typer.Option(help="Write each query's figures here, as CSV.", show_default=False),
    ] = None,
    run_out: Annotated[
        Path | None,
        typer.Option(
            help="Write each method's ranking into this folder, as a TREC run.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Measure retrieval quality on a judged collection in BEIR layout.

    Its documents are ingested, one chunk each up to the model's limit; every judged query is
    searched 200 candidates deep, once for all methods. Intervals are of 95 %, by bootstrap.
    """
    from commands.search.measuring import Asked, Wanted, measure_folder  # noqa: PLC0415
    from commands.search.outcomes import evaluation_json, show_evaluation  # noqa: PLC0415
    from commands.search.writing import Outputs  # noqa: PLC0415

    settings = load_settings(embedder_url=embedder_url, home=home)
    wanted = Wanted.of(methods, metrics, floor or [], depth)
    outputs = Outputs(per_query, run_out)
    outputs.check()
    asked = Asked(folder, split, collection, allow_unknown)
    measured = asyncio.run(measure_folder(asked, settings, wanted))
    if json:
        print_json(evaluation_json(measured))
    else:
        show_evaluation(measured)
    outputs.write(measured)
    for each in measured.missed:
        typer.echo(f"missed: {each.floor}, measured {each.measured:.4f}", err=True)
    if measured.failed or measured.missed:
        raise typer.Exit(SOME_FAILED)
