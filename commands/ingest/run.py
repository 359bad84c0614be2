"""`m3-ingest run`: documents into a collection."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from commands.ingest.mapping import (
    Field,
    FieldFlags,
    IdField,
    MappingFile,
    Meta,
    TextField,
    TitleField,
    mapped,
)
from commands.ingest.options import (
    ContextOption,
    DeferIndexOption,
    MaxErrorsOption,
    PoolingOption,
    Source,
    TenancyOption,
    Tenant,
)
from commands.ingest.outcome import show_outcome, show_survey
from commands.options import EmbedderUrl, Home, Json
from m3.errors import InvalidInput
from m3.settings import load_settings
from m3.types import DEFAULT_SOURCE, DEFAULT_TENANT


def add(app: typer.Typer) -> None:
    app.command(
        epilog="Examples:\n\n`m3-ingest run ./docs --collection docs`\n\n"
        "`m3-ingest run corpus.jsonl --collection news --id-field url --field lang:string`\n\n"
        "`m3-ingest run shop.csv --collection shop --meta price:float --meta sku=number`\n\n"
        "`m3-ingest run ./docs --collection docs --sync --max-deletes 5%`\n\n"
        "`m3-ingest run s.jsonl --collection big --shard $JOB_COMPLETION_INDEX/8 --defer-index`\n\n"
        "`jq -c '.items[]' export.json | m3-ingest run - --collection items`",
    )(run)


def run(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, quoted globs, https addresses of files, s3://bucket/prefix, "
            "or - for stdin.",
            metavar="PATH",
        ),
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
            "--format",
            help="jsonl, csv, parquet, text, markdown, html or pdf, for every file; auto goes by "
            "suffix.",
        ),
    ] = "auto",
    parser: Annotated[
        str | None,
        typer.Option(
            help="docling or markitdown, each an extra: reads PDF, HTML and office formats.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    id_field: IdField = None,
    text_field: TextField = None,
    title_field: TitleField = None,
    meta: Meta = None,
    mapping: MappingFile = None,
    field: Field = None,
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
    context: ContextOption = None,
    tenancy: TenancyOption = None,
    pooling: PoolingOption = None,
    sync: Annotated[
        bool,
        typer.Option(
            "--sync",
            help="Delete what this source has in the collection and no longer here, if all of it "
            "could be read.",
        ),
    ] = False,
    max_deletes: Annotated[
        str | None,
        typer.Option(
            help="With --sync, delete nothing where more would be: a number, or a share of what "
            "the source has in the collection.  [10%]",
            metavar="N|P%",
            show_default=False,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Only part I of N, counted from 0, as $JOB_COMPLETION_INDEX is: documents fall "
            "to parts by their ids.",
            metavar="I/N",
            show_default=False,
        ),
    ] = None,
    allow_private_addresses: Annotated[
        bool,
        typer.Option(
            "--allow-private-addresses",
            help="Read http(s) addresses also from this machine and private networks.",
        ),
    ] = False,
    max_errors: MaxErrorsOption = None,
    defer_index: DeferIndexOption = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Read and cut only, tell documents, chunks, tokens, bytes and time.",
        ),
    ] = False,
    json: Json = False,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Bring documents into a collection.

    Unchanged documents cost nothing, changed ones replace what was there, whole. A document
    that fails goes to the dead letters with its place and the reason, and the exit code is 1.
    Of folders, files of known suffixes are read (.jsonl, .ndjson, .csv, .tsv, .parquet, .txt,
    .text, .md, .markdown, .html, .htm, .pdf, each also .gz or .zst), hidden ones and linked
    folders are not; ids are paths within the folder.
    """
    import anyio  # noqa: PLC0415 - keeps --help quick

    from commands.ingest.running import Feed, Wish, run_ingest  # noqa: PLC0415
    from ingest.deadletters import Origin  # noqa: PLC0415
    from ingest.running.limits import MaxErrors  # noqa: PLC0415
    from ingest.sharding import Shard  # noqa: PLC0415
    from ingest.sources import discover, read, without_secrets  # noqa: PLC0415
    from ingest.syncing import MaxDeletes, Reading, Sync  # noqa: PLC0415
    from serving.tracing import traced  # noqa: PLC0415

    settings = load_settings(home=home, embedder_url=embedder_url)
    flags = FieldFlags(id_field, text_field, title_field, meta, field, mapping)
    fields, filters = mapped(flags, source, tenant)
    limit = MaxErrors.parsed(max_errors) if max_errors else None
    part = Shard.parsed(shard) if shard else None
    if max_deletes is not None and not sync:
        raise InvalidInput("--max-deletes limits what --sync deletes: say --sync too")
    most = MaxDeletes() if max_deletes is None else MaxDeletes.parsed(max_deletes)
    wish = Wish(collection, max_tokens, overlap, whole, filters, context, tenancy, tenant, pooling)
    chosen = None if format_ == "auto" else format_
    found = discover(paths, chosen, parser=parser, allow_private=allow_private_addresses)
    typer.echo(f"state directory {settings.home}", err=True)
    if found.passed_over:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in found.passed_over.items())
        typer.echo(f"not read, of other formats: {kinds}", err=True)
    origin = Origin(
        tuple(map(without_secrets, paths)),
        chosen,
        parser,
        fields,
        allow_private=allow_private_addresses,
    )
    reading = Reading(read(found.files, fields), part, remember=sync)
    wanted = Sync(reading, tenant, source, most) if sync else None
    items = part.select(reading) if part else reading
    feed = Feed(items, found.bytes, lambda _: origin, wanted)
    ingest = partial(
        run_ingest,
        feed,
        wish,
        settings,
        dry_run=dry_run,
        max_errors=limit,
        defer_index=defer_index,
    )
    with traced(settings, "m3-ingest"):
        outcome = anyio.run(ingest)
    show = show_survey if dry_run else show_outcome
    try:
        show(outcome, collection, json=json)
    finally:
        if defer_index and not dry_run:
            typer.echo(
                "searches do not find this run's changes yet: next, `m3-ingest verify "
                f"{collection} --repair`, or for a first load on a cluster `m3-ingest bulk write "
                f"{collection} FOLDER`",
                err=True,
            )
