"""What several commands of m3-ingest take, and the store they open."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from m3.settings import load_settings
from m3.types import Context, Tenancy

if TYPE_CHECKING:
    from store.contract import Store

Name = Annotated[str, typer.Argument(help="The collection.", metavar="NAME")]
Source = Annotated[str, typer.Option(help="Where the documents come from: ids count within it.")]
Tenant = Annotated[str, typer.Option(help="Whose documents they are.")]
ContextOption = Annotated[
    Context | None,
    typer.Option(
        help="What the model reads before each chunk: nothing, its document's title, or title "
        "and headings.  [title]",
        show_default=False,
    ),
]
TenancyOption = Annotated[
    Tenancy | None,
    typer.Option(
        help="Whose a collection is that is made: shared by any number of tenants, or --tenant's "
        "own.  [shared]",
        show_default=False,
    ),
]
PoolingOption = Annotated[
    int | None,
    typer.Option(
        help="Keep one ColBERT vector for so many tokens of a text, like ones together: from 1, "
        "each its own, to 4.  [1]",
        metavar="N",
        show_default=False,
    ),
]
MaxErrorsOption = Annotated[
    str | None,
    typer.Option(
        "--max-errors",
        help="Stop when more documents fail: a number, or a share of those read.  [no limit]",
        metavar="N|P%",
        show_default=False,
    ),
]
DeferIndexOption = Annotated[
    bool,
    typer.Option(
        "--defer-index",
        help="Write the table alone: searches go on finding what they did, and a later run, "
        "verify --repair or a bulk import publishes.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@contextmanager
def opened_store(home: Path | None) -> Generator[Store]:
    """The store of this machine's settings."""
    from store.opening import open_store  # noqa: PLC0415 - keeps --help quick

    store = open_store(load_settings(home=home))
    try:
        yield store
    finally:
        store.close()
