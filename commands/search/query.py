"""`m3-search query`: one question, to a running API or to the collection itself."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import orjson
import typer

from commands.console import print_json
from commands.options import EmbedderUrl, Home, Json
from m3.errors import InvalidInput
from m3.settings import Settings, load_settings

_SECONDS = 60.0
"""That a running API is given to answer."""
_ON_THE_WAY = 5.0
"""Seconds more than a search is given itself."""
_EXAMPLES = (
    "Examples:\n\n`m3-search query 'Who won Super Bowl 50?' --collection xquad-en`\n\n"
    "`m3-search query 'vector index' --collection docs --method dense --top-k 3 --json`\n\n"
    "`m3-search query 'install' --collection docs --weights 0.4,0.2,0.4 "
    '--filter \'{"field": "lang", "op": "eq", "value": "en"}\'`\n\n'
    "`m3-search query 'tune recall' --collection docs --must HNSW --must 'index type' "
    "--group-by document --neighbours 1`"
)


def add(app: typer.Typer) -> None:
    app.command(epilog=_EXAMPLES)(query)


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
    rerank_depth: Annotated[
        int | None,
        typer.Option(
            help="Have ColBERT rank only so many candidates, the best by dense and sparse.",
            metavar="N",
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
    timeout_ms: Annotated[
        int | None,
        typer.Option(
            help="Go without what is not there by then, or fail.",
            metavar="MS",
            show_default=False,
        ),
    ] = None,
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
        "rerank_depth": rerank_depth,
        "filter": _filter(filter),
        "must": must or [],
        "must_not": must_not or [],
        "rank": rank,
        "min_score": min_score,
        "group_by": group_by,
        "neighbours": neighbours,
        "explain": explain,
        "timeout_ms": timeout_ms,
    }
    answer, stand_in = _ask_api(url, body, settings) if url else _ask_here(body, settings)
    if json:
        print_json(answer)
        return
    from commands.search.tables import show_hits  # noqa: PLC0415 - keeps --help quick

    show_hits(answer, stand_in=stand_in)


def _ask_here(body: dict[str, Any], settings: Settings) -> tuple[dict[str, Any], bool]:
    """The answer, and whether the English-only stand-in made the collection."""
    from commands.search.parts import search_once  # noqa: PLC0415 - keeps --help quick

    return asyncio.run(search_once(body, settings))


def _ask_api(url: str, body: dict[str, Any], settings: Settings) -> tuple[dict[str, Any], bool]:
    from search.client import SearchClient  # noqa: PLC0415 - keeps --help quick
    from search.response import as_json  # noqa: PLC0415

    seconds = max(_SECONDS, (body["timeout_ms"] or 0) / 1000 + _ON_THE_WAY)
    with SearchClient.from_settings(url, settings, timeout=seconds) as api:
        answer = api.search(**body)
        return as_json(answer), api.get_collection(body["collection"]).collection.stand_in


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
