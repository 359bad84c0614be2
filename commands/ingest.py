"""m3-ingest: documents into collections, and what is in them."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.console import print_json, run
from commands.options import EmbedderUrl, Home, Json
from m3.errors import InvalidInput, StoredDataError
from m3.settings import load_settings
from m3.types import DEFAULT_SOURCE, DEFAULT_TENANT, DocumentKey

if TYPE_CHECKING:
    from commands.ingest_run import Outcome
    from store.contract import Status, Store, Verification
    from store.filters import FieldType

app = typer.Typer(
    help="Documents into collections: cut, embedded, written.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)

_SOME_FAILED = 1

Name = Annotated[str, typer.Argument(help="The collection.", metavar="NAME")]
Source = Annotated[str, typer.Option(help="Where the documents come from: ids count within it.")]
Tenant = Annotated[str, typer.Option(help="Whose documents they are.")]


@app.command(
    "run",
    epilog="Examples:\n\n`m3-ingest run ./docs --collection docs`\n\n"
    "`m3-ingest run corpus.jsonl --collection news --id-field url --field lang:string`\n\n"
    "`jq -c '.items[]' export.json | m3-ingest run - --collection items`",
)
def run_(
    paths: Annotated[
        list[str], typer.Argument(help="Files, folders, or - for stdin.", metavar="PATH")
    ],
    *,
    collection: Annotated[
        str, typer.Option("--collection", "-c", help="Where to; made if it is not there.")
    ],
    source: Source = DEFAULT_SOURCE,
    tenant: Tenant = DEFAULT_TENANT,
    format_: Annotated[
        str,
        typer.Option(
            "--format", help="jsonl, text or markdown, for every file; auto goes by suffix."
        ),
    ] = "auto",
    id_field: Annotated[
        str | None,
        typer.Option(help="Of JSON lines.  [_id, or else id]", metavar="F", show_default=False),
    ] = None,
    text_field: Annotated[str, typer.Option(help="Of JSON lines.", metavar="F")] = "text",
    title_field: Annotated[
        str, typer.Option(help="Of JSON lines and front matter.", metavar="F")
    ] = "title",
    field: Annotated[
        list[str] | None,
        typer.Option(
            help="Metadata to filter on, when the collection is made: string, int, float, bool "
            "or strings. Repeatable.",
            metavar="NAME:TYPE",
            show_default=False,
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="Of a chunk, title included.  [512]", metavar="N", show_default=False),
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            help="Tokens that neighbouring chunks share.  [64]", metavar="N", show_default=False
        ),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="One chunk per document, cut off at the model's limit.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and cut only; embed and write nothing.")
    ] = False,
    json: Json = False,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Bring documents into a collection.

    Unchanged documents cost nothing, changed ones replace what was there, whole. A document
    that fails goes to the dead letters with its place and the reason, and the exit code is 1.
    Of folders, files of known suffixes are read (.jsonl, .ndjson, .txt, .text, .md, .markdown,
    each also .gz), hidden ones and linked folders are not; ids are paths within the folder.
    """
    import anyio  # noqa: PLC0415 - keeps --help quick

    from commands.ingest_run import Wish, run_ingest  # noqa: PLC0415
    from ingest.sources import Fields, discover  # noqa: PLC0415

    settings = load_settings(home=home, embedder_url=embedder_url)
    wish = Wish(collection, max_tokens, overlap, whole, _fields(field or []))
    found = discover(paths, None if format_ == "auto" else format_)
    fields = Fields(source, tenant, id_field, text_field, title_field)
    typer.echo(f"state directory {settings.home}", err=True)
    if found.passed_over:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in found.passed_over.items())
        typer.echo(f"not read, of other formats: {kinds}", err=True)
    outcome = anyio.run(lambda: run_ingest(found, fields, wish, settings, dry_run=dry_run))
    _show_outcome(outcome, collection, dry_run=dry_run, json=json)
    if outcome.report.failed:
        raise typer.Exit(_SOME_FAILED)


@app.command(epilog="Example:\n\n`m3-ingest status docs --json`")
def status(name: Name, *, json: Json = False, home: Home = None) -> None:
    """What a collection holds, of which model."""
    with _open(home) as store:
        found = store.open(name).status()
    if json:
        print_json(found)
    else:
        _show_status(found)


@app.command(epilog="Example:\n\n`m3-ingest collections --json`")
def collections(*, json: Json = False, home: Home = None) -> None:
    """All collections of the state directory."""
    with _open(home) as store:
        found = [store.open(name).status() for name in store.names()]
    if json:
        print_json(found)
        return
    for each in found:
        typer.echo(f"{each.name}: {each.documents:,} documents, {each.chunks:,} chunks")
    if not found:
        typer.echo("there is no collection yet")


@app.command(epilog="Example:\n\n`m3-ingest verify docs --repair`")
def verify(
    name: Name,
    *,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make the index equal to the table.")
    ] = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Hold index against table, row by row, and rows against their checksums.

    Exit code 4 where they do not fit and were not repaired. Repairing embeds nothing.
    """
    with _open(home) as store:
        found = store.open(name).verify(repair=repair)
    if json:
        print_json({**asdict(found), "consistent": found.consistent})
    else:
        typer.echo(_verified(found))
    if found.corrupt:
        raise StoredDataError(
            f"{len(found.corrupt)} rows of {name!r} do not match their checksum: "
            "delete their documents and ingest them again"
        )
    if not found.consistent:
        raise StoredDataError(
            f"index and table of {name!r} differ: run `m3-ingest verify {name} --repair`"
        )


@app.command(epilog="Example:\n\n`m3-ingest delete docs --id guide.md --id faq.md`")
def delete(
    name: Name,
    *,
    id_: Annotated[
        list[str], typer.Option("--id", help="Of a document. Repeatable.", metavar="ID")
    ],
    source: Source = DEFAULT_SOURCE,
    tenant: Tenant = DEFAULT_TENANT,
    json: Json = False,
    home: Home = None,
) -> None:
    """Take documents out of a collection."""
    keys = [DocumentKey(tenant, source, each) for each in dict.fromkeys(id_)]
    with _open(home) as store:
        collection = store.open(name)
        deleted = collection.delete(keys)
        collection.settle()
    if json:
        print_json({"deleted": deleted, "not_found": len(keys) - deleted})
    else:
        typer.echo(f"{deleted} documents deleted, {len(keys) - deleted} were not there")


@app.command(epilog="Example:\n\n`m3-ingest drop docs --yes`")
def drop(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: Home = None,
) -> None:
    """Take out a collection, its documents and their vectors."""
    with _open(home) as store:
        documents = store.open(name).status().documents
        if not yes and not sys.stdin.isatty():
            raise InvalidInput(f"this deletes {documents:,} documents for good: say --yes")
        if not yes and not typer.confirm(f"Delete {name!r} and its {documents:,} documents?"):
            return
        store.drop(name)
    typer.echo(f"{name} is gone")


@contextmanager
def _open(home: Path | None) -> Generator[Store]:
    from store.opening import open_store  # noqa: PLC0415 - keeps --help quick

    store = open_store(load_settings(home=home))
    try:
        yield store
    finally:
        store.close()


def _fields(given: list[str]) -> dict[str, FieldType]:
    from store.filters import FieldType  # noqa: PLC0415 - keeps --help quick

    fields: dict[str, FieldType] = {}
    for each in given:
        name, _, kind = each.rpartition(":")
        if not name or kind not in set(FieldType):
            raise InvalidInput(f"--field {each}: expected NAME:TYPE, of {', '.join(FieldType)}")
        fields[name] = FieldType(kind)
    return fields


def _show_outcome(outcome: Outcome, collection: str, *, dry_run: bool, json: bool) -> None:
    report, spec = outcome.report, outcome.spec
    if outcome.dead_letters:
        typer.echo(f"{report.failed:,} failed, kept in {outcome.dead_letters}", err=True)
    if report.truncated:
        typer.echo(
            f"{report.truncated:,} documents are longer than the model reads: only their "
            "beginning can be found",
            err=True,
        )
    if json:
        letters = str(outcome.dead_letters) if outcome.dead_letters else None
        print_json({"collection": collection, **asdict(report), "dead_letters": letters})
        return
    seconds = max(report.seconds, 1e-3)
    would = " would be" if dry_run else ""
    model = "English-only stand-in" if spec.stand_in else spec.model
    typer.echo(
        f"{collection}: {report.documents:,} documents,{would} {report.written:,} written, "
        f"{report.unchanged:,} unchanged, {report.failed:,} failed; {report.chunks:,} chunks "
        f"({report.reused:,} with vectors that were there), {report.tokens:,} tokens by {model} "
        f"in {seconds:,.1f} s ({report.documents / seconds:,.0f} documents/s)"
    )


def _show_status(status: Status) -> None:
    spec = status.spec
    chunking = spec.chunking
    cut = "whole" if chunking.whole else f"{chunking.max_tokens}, {chunking.overlap} shared"
    facts = {
        "documents": f"{status.documents:,}",
        "chunks": f"{status.chunks:,}",
        "bytes": f"{status.bytes:,}",
        "model": f"{spec.model} ({'English-only stand-in, ' * spec.stand_in}{spec.precision})",
        "fingerprint": spec.fingerprint,
        "vectors": f"{spec.dimension} dimensions, {spec.codec}",
        "chunk tokens": cut,
        "fields": ", ".join(f"{name}:{kind}" for name, kind in spec.fields.items()) or "none",
        "generation": status.generation,
        "version": f"{status.version} ({status.unpublished} commits wait for the index)",
    }
    typer.echo(status.name)
    for name, fact in facts.items():
        typer.echo(f"  {name:12} {fact}")


def _verified(found: Verification) -> str:
    repaired = ", repaired" if found.repaired and (found.missing or found.stale) else ""
    return (
        f"{found.chunks:,} chunks; the index lacks {found.missing:,} and has {found.stale:,} "
        f"too many{repaired}; {len(found.corrupt):,} corrupt"
    )


def main() -> None:
    """The entry point."""
    run(app)
