"""`m3-search compare`: is one run better than another, or is it noise?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.console import print_json
from commands.options import Json
from commands.search.options import SPLIT, Split

if TYPE_CHECKING:
    from evaluation.measuring.comparing import Comparison

_EXAMPLES = (
    "Examples:\n\n`m3-search compare old/fusion.run new/fusion.run --judgments ./scifact`\n\n"
    "`m3-search compare old.csv new.csv --method fusion`"
)


def add(app: typer.Typer) -> None:
    app.command("compare", epilog=_EXAMPLES)(compare)


def compare(
    a: Annotated[Path, typer.Argument(help="A TREC run, or a CSV of eval --per-query.")],
    b: Annotated[Path, typer.Argument(help="Another one, of the same queries.")],
    *,
    judgments: Annotated[
        Path | None,
        typer.Option(
            help="For TREC runs: a folder in BEIR layout, or a sheet that was filled in.",
            metavar="DIR|CSV",
            show_default=False,
        ),
    ] = None,
    split: Split = SPLIT,
    metrics: Annotated[
        str | None,
        typer.Option(help="Comma-separated.  [all that both have]", show_default=False),
    ] = None,
    method: Annotated[
        str, typer.Option(help="For CSVs: the method, or two, of A and of B: dense,fusion.")
    ] = "fusion",
    json: Json = False,
) -> None:
    """Compare two runs query by query: difference, 95 % interval, p, wins and losses.

    The interval is by paired bootstrap, p by a paired randomisation test. What may well be chance
    is called noise.
    """
    from commands.search.comparing import compared  # noqa: PLC0415 - keeps --help quick
    from evaluation.judged.judgments import load  # noqa: PLC0415

    qrels = None if judgments is None else load(judgments, split).qrels
    found = compared(a, b, qrels, metrics, method)
    if json:
        print_json(found)
    else:
        show_comparisons(found, (a.name, b.name))


def show_comparisons(found: list[Comparison], names: tuple[str, str]) -> None:
    """A table with a line for each metric, and a plain word for what it says."""
    from rich.console import Console  # noqa: PLC0415 - keeps --help quick
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("metric", no_wrap=True)
    for column in ("A", "B", "B - A", "95 % interval", "p", "+/-/="):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for each in found:
        table.add_row(
            each.metric,
            f"{each.a:.4f}",
            f"{each.b:.4f}",
            f"{each.difference:+.4f}",
            f"{each.interval[0]:+.3f} to {each.interval[1]:+.3f}",
            f"{each.p:.4f}",
            f"{each.wins}/{each.losses}/{each.ties}",
            verdict(each),
        )
    screen = Console(highlight=False)
    screen.print(f"A: {names[0]}, B: {names[1]}, {found[0].queries:,} queries")
    screen.print(table)
    screen.print("+/-/=: queries that B does better, worse, as well on")


def verdict(of: Comparison) -> str:
    """What a comparison comes to, in a word or two."""
    if of.noise:
        return "noise"
    return "B better" if of.difference > 0 else "A better"
