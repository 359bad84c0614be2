"""What evaluation found, as JSON and as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from evaluation.judged.beir import named

if TYPE_CHECKING:
    from commands.search.measuring import Evaluation
    from evaluation.measuring.significance import Interval
    from store.reports import Status


def evaluation_json(found: Evaluation) -> dict[str, Any]:
    """Means by method and metric, what they are of, and how sure they are."""
    return {
        "dataset": found.judged.name,
        "split": found.split,
        "documents": found.collection.documents,
        "queries": len(found.judged.queries),
        "results": {each.method: each.means for each in found.methods},
        "intervals": {each.method: each.intervals for each in found.methods},
        "weights": {each.method: each.weights for each in found.methods},
        "collection": found.collection.name,
        "depth": found.depth,
        "unknown_documents": found.unknown,
        "missed": found.missed,
    }


def show_evaluation(found: Evaluation) -> None:
    """A table of methods and metrics, and what it was measured on."""
    documents, queries = found.collection.documents, len(found.judged.queries)
    table = Table(show_lines=True)
    table.add_column("method")
    for metric in found.methods[0].values:
        table.add_column(metric, justify="right")
    for each in found.methods:
        intervals = each.intervals
        table.add_row(
            each.method,
            *(f"{mean:.4f}{_interval(intervals[name])}" for name, mean in each.means.items()),
        )
    screen = Console(highlight=False)
    screen.print(
        f"{found.judged.name}, {found.split}: {documents:,} document{'s' * (documents != 1)}, "
        f"{queries:,} {'query' if queries == 1 else 'queries'}",
        soft_wrap=True,
    )
    screen.print(table)
    screen.print(
        "below each figure: 95 % bootstrap intervals over queries"
        if queries > 1
        else "one judged query: there is no interval"
    )
    if found.unknown:
        screen.print(f"not in the corpus, and so never found: {named(found.unknown)}")
    screen.print(made_by(found.collection), soft_wrap=True)


def made_by(collection: Status) -> str:
    """A collection with its model, for the end of a table."""
    model = "English-only stand-in" if collection.spec.stand_in else collection.spec.model
    return f"collection {collection.name}: {model}, {collection.spec.codec}"


def _interval(found: Interval | None) -> str:
    return "" if found is None else f"\n{found[0]:.3f}–{found[1]:.3f}"
