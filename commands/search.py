"""m3-search: serve the search API and ask it, measure its quality, keep its keys and its Milvus."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from commands.console import SOME_FAILED, print_json, run
from commands.options import EmbedderUrl, Home, Json
from commands.search_keys import keys
from m3.errors import InvalidInput
from m3.settings import Settings, load_settings

if TYPE_CHECKING:
    from store.index.engine import EngineStatus

app = typer.Typer(
    help="The search API: queries to hits, by dense, sparse and ColBERT.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)
engine = typer.Typer(
    help="The embedded Milvus: a process that all commands of one state directory share.",
    no_args_is_help=True,
)
app.add_typer(engine, name="engine")
app.add_typer(keys, name="keys")


@app.command(epilog="Examples:\n\n`m3-search serve`\n\n`m3-search serve --port 0 --home ./state`")
def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8000,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve other machines without keys.")
    ] = False,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Serve the search API until interrupted."""
    from commands.search_serve import open_parts  # noqa: PLC0415 - keeps --help quick
    from search.app import create  # noqa: PLC0415
    from serving import server  # noqa: PLC0415
    from serving.logs import configure  # noqa: PLC0415

    settings = load_settings(embedder_url=embedder_url, home=home)
    configure(settings)
    server.serve(
        create(settings, lambda: open_parts(settings)),
        host=host,
        port=port,
        settings=settings,
        insecure=insecure,
        on_ready=lambda url: typer.echo(f"m3-search at {url} serves {settings.home}"),
    )


@app.command(
    epilog="Examples:\n\n`m3-search query 'Who won Super Bowl 50?' --collection xquad-en`\n\n"
    "`m3-search query 'vector index' --collection docs --method dense --top-k 3 --json`\n\n"
    "`m3-search query 'install' --collection docs --weights 0.4,0.2,0.4 "
    '--filter \'{"field": "lang", "op": "eq", "value": "en"}\'`\n\n'
    "`m3-search query 'tune recall' --collection docs --must HNSW --must 'index type' "
    "--group-by document --neighbours 1`"
)
def query(
    text: Annotated[str, typer.Argument(help="What to ask.")],
    *,
    collection: Annotated[str, typer.Option("--collection", "-c", help="Where to search.")],
    method: Annotated[
        str, typer.Option(help="dense, sparse, colbert, dense+sparse or fusion.")
    ] = "fusion",
    weights: Annotated[
        str | None,
        typer.Option(
            help="In place of the method's: three numbers, or a preset's name.",
            metavar="D,S,C",
            show_default=False,
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(help="Hits, at most.")] = 10,
    candidates: Annotated[
        int | None,
        typer.Option(help="Depth of each leg.  [100, or top-k if more]", show_default=False),
    ] = None,
    filter: Annotated[
        str | None,
        typer.Option(
            help='{"field": …, "op": …, "value": …}; and, or, not.',
            metavar="JSON",
            show_default=False,
        ),
    ] = None,
    must: Annotated[
        list[str] | None,
        typer.Option(
            help="A word or phrase that hits have; may be repeated.",
            metavar="WORD",
            show_default=False,
        ),
    ] = None,
    must_not: Annotated[
        list[str] | None,
        typer.Option(
            help="One that no hit has; may be repeated.", metavar="WORD", show_default=False
        ),
    ] = None,
    rank: Annotated[
        str, typer.Option(help="weighted, or rrf: by the ranks in dense and sparse.")
    ] = "weighted",
    min_score: Annotated[
        float | None, typer.Option(help="Leave out hits below it.", show_default=False)
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="document: hits are documents, by their best passage.",
            metavar="document",
            show_default=False,
        ),
    ] = None,
    neighbours: Annotated[
        int, typer.Option(help="Passages before and after each hit to show with it, up to 5.")
    ] = 0,
    explain: Annotated[bool, typer.Option("--explain", help="Why each hit is one.")] = False,
    json: Json = False,
    url: Annotated[
        str | None, typer.Option(help="Ask this running search API.", show_default=False)
    ] = None,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Search a collection; the search API need not run, but an embedder node must."""
    settings = load_settings(embedder_url=embedder_url, home=home)
    body = {
        "query": text,
        "collection": collection,
        "method": method,
        "weights": _weights(weights),
        "top_k": top_k,
        "candidates": candidates,
        "filter": _filter(filter),
        "must": must or [],
        "must_not": must_not or [],
        "rank": rank,
        "min_score": min_score,
        "group_by": group_by,
        "neighbours": neighbours,
        "explain": explain,
    }
    answer, stand_in = _ask_api(url, body, settings) if url else _ask_here(body, settings)
    if json:
        print_json(answer)
        return
    from commands.search_tables import show_hits  # noqa: PLC0415 - keeps --help quick

    show_hits(answer, stand_in=stand_in)


@app.command(
    "eval",
    epilog="Examples:\n\n`m3-search eval ./scifact`\n\n"
    "`m3-search eval ./scifact --methods dense,fusion --json`",
)
def evaluate(
    folder: Annotated[
        Path, typer.Argument(help="corpus.jsonl, queries.jsonl, qrels/test.tsv.", metavar="DIR")
    ],
    *,
    collection: Annotated[
        str | None,
        typer.Option("--collection", "-c", help="In place of its own.", show_default=False),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Comma-separated.  [all]", metavar="M,M,…", show_default=False),
    ] = None,
    json: Json = False,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Measure retrieval quality on a judged collection in BEIR layout.

    Its documents are ingested, one chunk each up to the model's limit; every judged query is
    searched 200 candidates deep with each method.
    """
    from commands.search_eval import measure_folder, show_quality  # noqa: PLC0415

    settings = load_settings(embedder_url=embedder_url, home=home)
    chosen = methods.split(",") if methods is not None else None
    measured = asyncio.run(measure_folder(folder, settings, collection, chosen))
    if json:
        print_json(measured.quality)
    else:
        show_quality(measured.quality, measured.collection)
    if measured.failed:
        raise typer.Exit(SOME_FAILED)


@engine.command("start", epilog="Example:\n\n`m3-search engine start --home ./state`")
def engine_start(*, home: Home = None, json: Json = False) -> None:
    """Start it, if it does not run; unused, it ends by itself after M3_ENGINE_IDLE seconds."""
    from store.index.engine import Engine  # noqa: PLC0415 - keeps --help quick

    started = Engine.of(_embedded(home))
    started.attach()
    _show_engine(started.status(), json=json)


@engine.command("stop", epilog="Example:\n\n`m3-search engine stop`")
def engine_stop(*, home: Home = None, json: Json = False) -> None:
    """End it, whoever uses it; the next command that needs it starts it again."""
    from store.index.engine import Engine  # noqa: PLC0415 - keeps --help quick

    stopped = Engine.of(_embedded(home)).stop()
    if json:
        print_json({"stopped": stopped})
    else:
        typer.echo("stopped" if stopped else "it was not running")


@engine.command("status", epilog="Example:\n\n`m3-search engine status --json`")
def engine_status(*, home: Home = None, json: Json = False) -> None:
    """Whether it runs, and where."""
    from store.index.engine import Engine  # noqa: PLC0415 - keeps --help quick

    _show_engine(Engine.of(_embedded(home)).status(), json=json)


def _embedded(home: Path | None) -> Settings:
    settings = load_settings(home=home)
    if settings.milvus_uri is not None:
        raise InvalidInput(
            f"M3_MILVUS_URI is set ({settings.milvus_uri}): there is no embedded Milvus to run"
        )
    return settings


def _show_engine(status: EngineStatus, *, json: bool) -> None:
    if json:
        print_json(asdict(status))
        return
    typer.echo("running" if status.running else "not running")
    for name in ("address", "pid", "directory", "log"):
        typer.echo(f"  {name:10} {getattr(status, name)}")


def _ask_here(body: dict[str, Any], settings: Settings) -> tuple[dict[str, Any], bool]:
    """The answer, and whether the English-only stand-in made the collection."""
    from commands.search_parts import search_once  # noqa: PLC0415 - keeps --help quick

    return asyncio.run(search_once(body, settings))


def _ask_api(url: str, body: dict[str, Any], settings: Settings) -> tuple[dict[str, Any], bool]:
    from search.client import SearchApi  # noqa: PLC0415 - keeps --help quick

    with SearchApi(url, settings) as api:
        answer = api.search(body)
        return answer, api.collection(body["collection"])["collection"]["stand_in"]


def _weights(given: str | None) -> dict[str, float] | str | None:
    """Three numbers as an object; any other word is a preset's name."""
    if given is None or not any(character.isdigit() for character in given):
        return given
    try:
        dense, sparse, colbert = (float(number) for number in given.split(","))
    except ValueError:
        raise InvalidInput(
            f"--weights {given}: expected three numbers for dense, sparse and ColBERT, "
            "such as 1,0.3,1, or a preset's name"
        ) from None
    return {"dense": dense, "sparse": sparse, "colbert": colbert}


def _filter(given: str | None) -> Any:
    if given is None:
        return None
    try:
        return orjson.loads(given)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"--filter is not JSON: {error}") from error


def main() -> None:
    """The entry point."""
    run(app)
