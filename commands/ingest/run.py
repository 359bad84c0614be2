"""`m3-ingest run`: documents into a collection."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from commands.console import print_json
from commands.ingest.options import Source, Tenant
from commands.options import EmbedderUrl, Home, Json
from m3.errors import InvalidInput
from m3.settings import load_settings
from m3.types import DEFAULT_SOURCE, DEFAULT_TENANT

if TYPE_CHECKING:
    from commands.ingest.running import Outcome
    from store.filters import FieldType

_SOME_FAILED = 1


def add(app: typer.Typer) -> None:
    app.command(
        epilog="Examples:\n\n`m3-ingest run ./docs --collection docs`\n\n"
        "`m3-ingest run corpus.jsonl --collection news --id-field url --field lang:string`\n\n"
        "`jq -c '.items[]' export.json | m3-ingest run - --collection items`",
    )(run)


def run(
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

    from commands.ingest.running import Wish, run_ingest  # noqa: PLC0415
    from ingest.sources import Fields, discover  # noqa: PLC0415

    settings = load_settings(home=home, embedder_url=embedder_url)
    wish = Wish(collection, max_tokens, overlap, whole, _fields(field or []))
    found = discover(paths, None if format_ == "auto" else format_)
    fields = Fields(source, tenant, id_field, (text_field,), title_field)
    typer.echo(f"state directory {settings.home}", err=True)
    if found.passed_over:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in found.passed_over.items())
        typer.echo(f"not read, of other formats: {kinds}", err=True)
    outcome = anyio.run(lambda: run_ingest(found, fields, wish, settings, dry_run=dry_run))
    _show_outcome(outcome, collection, dry_run=dry_run, json=json)
    if outcome.report.failed:
        raise typer.Exit(_SOME_FAILED)


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
