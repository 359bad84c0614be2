"""`m3-ingest export`: the documents of a source as they were given, or their chunks' vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.console import print_json
from commands.ingest.options import Name, Source, Tenant, opened_store
from commands.options import Home, Json
from m3.errors import AlreadyExists, InvalidInput, NotFound
from m3.types import DEFAULT_SOURCE, DEFAULT_TENANT, Document, DocumentKey

if TYPE_CHECKING:
    from ingest.exporting import Format
    from store.chunks import Rows
    from store.contract import Collection

_AT_ONCE = 200


def add(app: typer.Typer) -> None:
    app.command(
        epilog="Examples:\n\n`m3-ingest export docs docs.jsonl`\n\n"
        "`m3-ingest export docs docs.parquet`\n\n"
        "`m3-ingest export docs chunks.parquet --vectors`"
    )(export)


def export(
    name: Name,
    file: Annotated[
        Path, typer.Argument(help="To be written; it must not be there.", metavar="FILE")
    ],
    *,
    source: Source = DEFAULT_SOURCE,
    tenant: Tenant = DEFAULT_TENANT,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="jsonl or parquet.  [by FILE's ending, else jsonl]",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    vectors: Annotated[
        bool,
        typer.Option(
            "--vectors",
            help="A row for each chunk, with its dense, sparse and ColBERT vectors; Parquet only.",
        ),
    ] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Write the documents of a source to a file that `m3-ingest run` reads.

    Ingesting the file changes nothing in a collection that has them. It is there once complete.
    """
    from commands.counting import counted  # noqa: PLC0415 - keeps --help quick
    from ingest.exporting import write_documents, write_vectors  # noqa: PLC0415

    form = _format(format_, file, vectors=vectors)
    if file.exists():
        raise AlreadyExists(f"{file} is there already: name another file")
    with opened_store(home) as store:
        collection = store.open(name)
        keys = _keys(collection, tenant, source)
        with counted("exporting", len(keys)) as advance:
            if vectors:
                rows = _rows(collection, tenant, source, advance)
                written = write_vectors(file, rows, collection.spec)
            else:
                written = write_documents(file, _originals(collection, keys, advance), form)
    what = "chunks" if vectors else "documents"
    if json:
        print_json({"collection": name, "file": str(file), "format": form, what: written})
    else:
        typer.echo(f"{name}: {written:,} {what} in {file}")


def _format(given: str | None, file: Path, *, vectors: bool) -> Format:
    from ingest.exporting import format_of  # noqa: PLC0415 - keeps --help quick

    if given is None:
        form = format_of(file)
    elif given in ("jsonl", "parquet"):
        form = given
    else:
        raise InvalidInput(f"--format {given}: jsonl or parquet")
    if vectors and form != "parquet":
        raise InvalidInput(
            f"--vectors goes into Parquet alone: name {file.with_suffix('.parquet')}"
            if given is None
            else "--vectors goes into Parquet alone: say --format parquet"
        )
    return form


def _keys(collection: Collection, tenant: str, source: str) -> list[DocumentKey]:
    keys = collection.keys(tenant, source)
    if not keys:
        raise NotFound(
            f"collection {collection.name!r} has no documents of source {source!r} and tenant "
            f"{tenant!r}"
        )
    return keys


def _originals(
    collection: Collection, keys: Sequence[DocumentKey], advance: Callable[[int], None]
) -> Iterator[Sequence[Document]]:
    for first in range(0, len(keys), _AT_ONCE):
        some = keys[first : first + _AT_ONCE]
        yield collection.originals(some)
        advance(len(some))


def _rows(
    collection: Collection, tenant: str, source: str, advance: Callable[[int], None]
) -> Iterator[Rows]:
    """The progress of these is told in documents too."""
    for rows in collection.scan(tenant, source):
        yield rows
        advance(sum(chunk.position == 0 for chunk in rows.chunks))
