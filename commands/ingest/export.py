"""`m3-ingest export`: the documents of a source as they were given, as JSON lines."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from commands.console import print_json
from commands.ingest.options import Name, Source, Tenant, opened_store
from commands.options import Home, Json
from m3.errors import AlreadyExists, InvalidConfiguration, NotFound
from m3.types import DEFAULT_SOURCE, DEFAULT_TENANT

if TYPE_CHECKING:
    from m3.types import Document
    from store.contract import Collection

_AT_ONCE = 200


def add(app: typer.Typer) -> None:
    app.command(epilog="Example:\n\n`m3-ingest export docs docs.jsonl`")(export)


def export(
    name: Name,
    file: Annotated[
        Path, typer.Argument(help="To be written; it must not be there.", metavar="FILE.jsonl")
    ],
    *,
    source: Source = DEFAULT_SOURCE,
    tenant: Tenant = DEFAULT_TENANT,
    json: Json = False,
    home: Home = None,
) -> None:
    """Write the documents of a source to a file that `m3-ingest run` reads.

    Ingesting the file changes nothing in a collection that has them. It is there once complete.
    """
    if file.exists():
        raise AlreadyExists(f"{file} is there already: name another file")
    with opened_store(home) as store:
        written = write_jsonl(file, _originals(store.open(name), tenant, source))
    if json:
        print_json({"collection": name, "file": str(file), "documents": written})
    else:
        typer.echo(f"{name}: {written:,} documents in {file}")


def _originals(collection: Collection, tenant: str, source: str) -> Iterator[Document]:
    keys = collection.keys(tenant, source)
    if not keys:
        raise NotFound(
            f"collection {collection.name!r} has no documents of source {source!r} and tenant "
            f"{tenant!r}"
        )
    for first in range(0, len(keys), _AT_ONCE):
        yield from collection.originals(keys[first : first + _AT_ONCE])


def write_jsonl(file: Path, documents: Iterator[Document]) -> int:
    """Write documents beside `file`, and give it its name once all of them are on the disk.

    Returns:
        How many there were.
    """
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    written = 0
    try:
        with draft.open("wb") as lines:
            for document in documents:
                lines.write(orjson.dumps(_record(document)) + b"\n")
                written += 1
            lines.flush()
            os.fsync(lines.fileno())
        draft.rename(file)
    except OSError as error:
        raise InvalidConfiguration(f"cannot write {file}: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)
    return written


def _record(document: Document) -> dict[str, Any]:
    return {
        "_id": document.id,
        "title": document.title,
        "text": document.text,
        "markdown": document.markdown,
        "pages": document.pages,
        "metadata": dict(document.metadata),
    }
