"""`m3-search tune`: a collection's own weights, from judgments."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.console import print_json
from commands.options import EmbedderUrl, Home, Json
from commands.search.options import SPLIT, AllowUnknown, Split
from m3.settings import load_settings

if TYPE_CHECKING:
    from commands.search.tuning import Outcome
    from scoring.fusion import Weights

_EXAMPLES = (
    "Examples:\n\n`m3-search tune ./judged --collection docs`\n\n"
    "`m3-search tune sheet.csv --collection docs --metric Recall@20 --save`\n\n"
    "`m3-search tune ./judged --collection docs --rerank-depth 50 --save`"
)


def add(app: typer.Typer) -> None:
    app.command("tune", epilog=_EXAMPLES)(tune)


def tune(
    judgments: Annotated[
        Path,
        typer.Argument(
            help="queries.jsonl and qrels/test.tsv in a folder, or a sheet of judge-sheet.",
            metavar="DIR|CSV",
        ),
    ],
    *,
    collection: Annotated[str, typer.Option("--collection", "-c", help="Whose weights.")],
    method: Annotated[str, typer.Option(help="fusion or dense+sparse.")] = "fusion",
    metric: Annotated[str, typer.Option(help="To make the most of.")] = "nDCG@10",
    depth: Annotated[int, typer.Option(help="Candidates of each leg.", min=10, max=1000)] = 200,
    rerank_depth: Annotated[
        int | None,
        typer.Option(
            help="Say what it costs that ColBERT ranks only so many candidates; with --save "
            "searches that say nothing do so, if that is noise. 0: all.",
            metavar="N",
            show_default=False,
        ),
    ] = None,
    split: Split = SPLIT,
    allow_unknown: AllowUnknown = False,
    save: Annotated[
        bool,
        typer.Option("--save", help="Have searches use them that give no weights, if they gain."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --save: even if the gain is noise.")
    ] = False,
    json: Json = False,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Fit the weights of a method to judged queries, and say what they are worth.

    The gain is measured on queries that the weights were not fitted to (5 folds), against the
    weights in use. Nothing is ingested; raw scores are kept and used again.
    """
    from commands.search.tuning import tune_collection  # noqa: PLC0415 - keeps --help quick

    settings = load_settings(embedder_url=embedder_url, home=home)
    found = asyncio.run(
        tune_collection(
            judgments,
            split,
            settings,
            collection,
            method=method,
            metric=metric,
            depth=depth,
            rerank_depth=rerank_depth,
            allow_unknown=allow_unknown,
            save=save,
            force=force,
        )
    )
    if json:
        print_json(_as_json(found))
    else:
        _show(found)


def _as_json(found: Outcome) -> dict[str, Any]:
    tuned = found.tuned
    return {
        "collection": found.collection,
        "judgments": found.judgments,
        "method": tuned.method,
        "metric": tuned.metric,
        "queries": tuned.queries,
        "unknown_documents": found.unknown,
        "weights": tuned.weights,
        "default": tuned.default,
        "fitted": tuned.fitted,
        "held_out": tuned.held_out,
        "folds": tuned.folds,
        "gain": tuned.gain,
        "rerank_depth": found.rerank_depth,
        "staged": found.staged,
        "saved": found.saved,
        "saved_rerank_depth": found.saved_depth,
    }


def _show(found: Outcome) -> None:
    tuned, held = found.tuned, found.tuned.held_out
    low, high = held.interval
    typer.echo(f"{found.collection}, {tuned.method}, {tuned.metric}, {tuned.queries} queries")
    typer.echo(f"  in use      {_weights(tuned.default)}   {held.a:.4f}")
    typer.echo(f"  fitted      {_weights(tuned.weights)}   {held.b:.4f} on queries unseen")
    typer.echo(
        f"  difference  {held.difference:+.4f} (95 %: {low:+.4f} to {high:+.4f}), p {held.p:.4f}, "
        f"{held.wins} better, {held.losses} worse, {held.ties} alike"
    )
    typer.echo(f"  {_verdict(found)}")
    if found.rerank_depth is not None:
        typer.echo(f"  {_staged(found, found.rerank_depth)}")


def _staged(found: Outcome, depth: int) -> str:
    if found.staged is None:
        told = "all candidates get a ColBERT score"
    else:
        low, high = found.staged.interval
        told = (
            f"rerank_depth {depth}: {found.staged.b:.4f} against {found.staged.a:.4f} "
            f"({low:+.4f} to {high:+.4f}, p {found.staged.p:.4f})"
        )
    if found.saved_depth:
        return f"{told}; saved: searches that say nothing do so"
    return f"{told}; not saved" + (": it loses (--force saves it all the same)" * found.asked)


def _verdict(found: Outcome) -> str:
    gain = found.tuned.gain
    if found.saved:
        return "saved: searches that give no weights use them" + ("" if gain else ", by --force")
    if not gain:
        return "noise: keep the weights in use" + (
            "; not saved (--force saves them all the same)" if found.asked else ""
        )
    return "a gain: --save makes them the collection's own"


def _weights(of: Weights) -> str:
    dense, sparse, colbert = of.normalised()
    return f"dense {dense:.3f}  sparse {sparse:.3f}  colbert {colbert:.3f}"
