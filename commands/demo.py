"""`make demo`: the whole system once through, in a state directory of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from commands.console import run
from commands.stack import command, stack
from commands.up import model_of
from m3.settings import load_settings
from store.index.engine import Engine

_SAMPLE = Path(__file__).parents[1] / "samples" / "xquad-en" / "corpus.jsonl"
_COLLECTION = "xquad-en"
_QUERY = "Who won Super Bowl 50?"
_METHODS = ("dense", "sparse", "colbert", "dense+sparse", "fusion")
_HITS = 3

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def demo(
    *,
    home: Annotated[Path, typer.Option(help="State directory of the demo.")] = Path(".demo"),
    query: Annotated[str, typer.Option(help="What to ask.")] = _QUERY,
) -> None:
    """Start a node and the search API, ingest the sample, ask it in all methods, stop."""
    started = time.perf_counter()
    settings = load_settings(home=home.resolve())
    screen = Console()
    model, described = model_of(settings)
    screen.print(f"model: {described}\nstate directory: {settings.home}")
    environment = {"M3_HOME": str(settings.home), "M3_MODEL": model}
    with stack(environment, settings.home / "logs") as servers:
        node = servers.start("m3-embedder", [command("m3-embedder"), "serve", "--port", "0"])
        servers.environment["M3_EMBEDDER_URL"] = node
        screen.print(f"embedder node: {node}")
        servers.run([command("m3-ingest"), "run", str(_SAMPLE), "--collection", _COLLECTION])
        api = servers.start("m3-search", [command("m3-search"), "serve", "--port", "0"])
        screen.print(f"search API: {api}\n")
        for method in _METHODS:
            screen.print(_answers(_ask(api, query, method), query, method))
    if settings.milvus_uri is None:
        Engine.of(settings).stop()
    screen.print(
        f"[dim]English-only stand-in; scores are of its vectors.[/dim]\n"
        f"done in {time.perf_counter() - started:.1f} s; everything is stopped. "
        "Next: `make up`, then http://127.0.0.1:8000"
    )


def _ask(api: str, query: str, method: str) -> dict[str, Any]:
    body = {"query": query, "collection": _COLLECTION, "method": method, "top_k": _HITS}
    answer = httpx.post(f"{api}/v1/search", json=body, trust_env=False, timeout=60)
    answer.raise_for_status()
    return answer.json()


def _answers(answer: dict[str, Any], query: str, method: str) -> Table:
    timings = "  ".join(f"{name} {ms:.1f}" for name, ms in answer["timings_ms"].items())
    table = Table(
        title=f"{method}: {query}", caption=f"ms: {timings}", title_justify="left", expand=True
    )
    for name in ("score", "dense", "sparse", "colbert"):
        table.add_column(name, justify="right")
    table.add_column("document", no_wrap=True)
    table.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1)
    for hit in answer["hits"]:
        scores = [hit["score"], *(hit["scores"][leg] for leg in ("dense", "sparse", "colbert"))]
        table.add_row(*(f"{score:.4f}" for score in scores), hit["document_id"], hit["text"])
    return table


if __name__ == "__main__":
    run(app)
