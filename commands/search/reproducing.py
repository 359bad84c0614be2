"""`m3-search recipe`: files, store, nodes and the protocol put together, with bars on stderr."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rich.console import Console
from rich.table import Table

from commands.counting import counted
from commands.ingest.progress import display
from commands.search.parts import open_service
from evaluation.collection import prepare
from evaluation.recipes.recipe import recipe_named
from evaluation.recipes.running import Outcome, cut_to_protocol, outcome, run
from ingest.sources import Reject
from m3.errors import StoredDataError
from m3.settings import Settings


async def reproduce(name: str, folder: Path, language: str, settings: Settings) -> Outcome:
    """Ingest what a recipe needs, search for its queries, measure the answers.

    Raises:
        InvalidInput: no such recipe or language, or files that are not what they should be.
        M3Error: what stops ingesting or searching; documents that cannot be ingested.
    """
    recipe = recipe_named(name)
    read = await asyncio.to_thread(recipe.collection, folder, language)
    async with open_service(settings) as (service, client):
        published = await cut_to_protocol(recipe, read, client)
        rejected: list[Reject] = []
        with display(None) as screen:
            opened = await prepare(
                published,
                service.collections,
                client,
                name=None,
                codec=settings.codec,
                on_reject=rejected.append,
                on_progress=screen.update,
            )
        if rejected:
            raise StoredDataError(
                f"{len(rejected)} documents were not ingested, the first at {rejected[0].place}: "
                f"{rejected[0].reason}; a figure without them would not be the recipe's"
            )
        status = await asyncio.to_thread(opened.status)
        with counted("searching", len(published.queries)) as advance:
            results = await run(recipe, published, service, status.name, advance)
    return outcome(
        recipe,
        language,
        results,
        documents=status.documents,
        queries=len(published.queries),
        model=status.spec.model,
        stand_in=status.spec.stand_in,
    )


def show_outcome(found: Outcome) -> None:
    """A table of methods: the paper's way, ours, and the paper's number."""
    table = Table(
        title=f"{found.recipe} {found.language}, {found.metric}: {found.documents:,} documents, "
        f"{found.queries:,} queries",
        title_justify="left",
    )
    table.add_column("method")
    for head in (
        "the paper's way",
        "union of both legs, exact",
        f"published, mean of {found.published_languages} languages",
    ):
        table.add_column(head, justify="right")
    for figure in found.figures:
        union = "" if figure.union is None else f"{figure.union:.4f}"
        table.add_row(figure.method, f"{figure.paper:.4f}", union, f"{figure.published:.3f}")
    screen = Console(highlight=False)
    screen.print(table)
    model = "English-only stand-in" if found.stand_in else found.model
    screen.print(f"{model}; published are BAAI/bge-m3's", soft_wrap=True)
