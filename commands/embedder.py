"""m3-embedder: serve a node, encode a text, fetch a model, build the stand-in checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from commands.console import print_json, run
from m3.errors import InvalidInput, ModelMismatch
from m3.settings import Precision, load_settings
from m3.types import OUTPUTS, ModelInfo, Representation

_SHOWN = 8

app = typer.Typer(
    help="The embedder node: text to dense, sparse and ColBERT representations.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)

Model = Annotated[
    str | None,
    typer.Option(help="Model id or checkpoint folder.  [M3_MODEL; BAAI/bge-m3]", metavar="ID|DIR"),
]


@app.command(
    epilog="Examples:\n\n`m3-embedder serve`\n\n`m3-embedder serve --model ./stand-in --port 0`"
)
def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 7860,
    model: Model = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Arithmetic.  [M3_PRECISION; auto]")
    ] = None,
    encoder: Annotated[
        Literal["packed", "reference"], typer.Option(help="Ours, or FlagEmbedding's to compare.")
    ] = "packed",
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve other machines without keys.")
    ] = False,
) -> None:
    """Serve a model over HTTP until interrupted."""
    from embedder.api.app import create_node_app  # noqa: PLC0415 - keeps --help quick
    from scoring.native.cores import CORES  # noqa: PLC0415
    from serving import server  # noqa: PLC0415
    from serving.logs import configure  # noqa: PLC0415
    from serving.machine import usable_cores  # noqa: PLC0415
    from serving.memory import return_large_buffers  # noqa: PLC0415
    from serving.tracing import traced  # noqa: PLC0415

    settings = load_settings(model=model, precision=precision)
    configure(settings)
    return_large_buffers()
    CORES.limit(usable_cores())
    with traced(settings, "m3-embedder"):
        server.serve(
            create_node_app(settings, encoder=encoder, on_loaded=_announce_model),
            host=host,
            port=port,
            settings=settings,
            insecure=insecure,
            on_ready=lambda url: typer.echo(f"m3-embedder at {url} loads {settings.model}"),
        )


@app.command(
    epilog="Examples:\n\n`m3-embedder encode 'What is BGE M3?'`\n\n"
    "`m3-embedder encode --model ./stand-in --json 'first' 'second'`"
)
def encode(
    texts: Annotated[list[str], typer.Argument(help="What to encode.", metavar="TEXT")],
    *,
    model: Model = None,
    json: Annotated[bool, typer.Option("--json", help="All values, as JSON.")] = False,
) -> None:
    """Show the representations of texts, without a node."""
    from embedder.api.answers import encode_answer  # noqa: PLC0415 - keeps --help quick
    from embedder.encoders.encoder import encode as encode_ids  # noqa: PLC0415
    from embedder.encoders.loading import load_encoder  # noqa: PLC0415
    from serving.logs import configure  # noqa: PLC0415

    _refuse_no_text(texts)
    settings = load_settings(model=model, log_level="warning")
    configure(settings)
    encoder = load_encoder(settings)
    tokenized = encoder.tokenizer.tokenize(texts, encoder.info.max_tokens)
    batch = encode_ids(encoder, [text.ids for text in tokenized], OUTPUTS)
    batch = replace(batch, truncated=np.array([text.truncated for text in tokenized]))
    if json:
        typer.echo(encode_answer(batch, OUTPUTS))
        return
    typer.echo(_described(encoder.info))
    for text, row, tokens in zip(texts, batch, batch.tokens.tolist(), strict=True):
        typer.echo(_summary(text, row, tokens, encoder.tokenizer.pieces))


@app.command(
    epilog="Examples:\n\n`HF_HOME=/mnt/models m3-embedder pull`\n\n"
    "`m3-embedder pull --expect 1f0c…` in front of nodes that start with `HF_HUB_OFFLINE=1`"
)
def pull(
    *,
    model: Model = None,
    expect: Annotated[
        str | None,
        typer.Option(help="Refuse a model of another fingerprint.", metavar="FINGERPRINT"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="What is there, as JSON.")] = False,
) -> None:
    """Fetch a model where it is not here yet, check every file, and tell its fingerprint.

    Once it is in a folder that nodes share, none of them has to fetch it, or to write there.
    """
    from embedder.model.checkpoint import open_checkpoint  # noqa: PLC0415 - keeps --help quick
    from embedder.model.hub import find  # noqa: PLC0415

    settings = load_settings(model=model, log_level="warning")
    folder, name = find(settings.model)
    # Hashed anew: what was remembered of a file says nothing of the disk under it.
    checkpoint = open_checkpoint(folder, name)
    if expect is not None and checkpoint.fingerprint != expect:
        raise ModelMismatch(
            f"{checkpoint.id} at {folder} has the fingerprint {checkpoint.fingerprint}, "
            f"not {expect}: fetch it again into an empty folder, or expect this one"
        )
    if json:
        found = {"model": checkpoint.id, "fingerprint": checkpoint.fingerprint}
        print_json({**found, "directory": str(folder)})
    else:
        typer.echo(f"{checkpoint.id} at {folder}, fingerprint {checkpoint.fingerprint}")


@app.command("stand-in", epilog="Example:\n\n`m3-embedder stand-in ./stand-in`")
def stand_in(
    directory: Annotated[Path, typer.Argument(help="Made if missing.", metavar="DIR")],
    *,
    json: Annotated[bool, typer.Option("--json", help="The folder, as JSON.")] = False,
) -> None:
    """Build the small English-only checkpoint that tests and the demo run on."""
    from embedder.stand_in import build  # noqa: PLC0415 - keeps --help quick

    built = build(directory).resolve()
    if json:
        print_json({"directory": str(built)})
    else:
        typer.echo(f"English-only stand-in at {built}\nserve it: m3-embedder serve --model {built}")


def _refuse_no_text(texts: Sequence[str]) -> None:
    """Raises InvalidInput for an argument of bytes that are no UTF-8, which Python lets come in."""
    for number, text in enumerate(texts, 1):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(f"TEXT {number} is not UTF-8: write it in that encoding") from error


def _summary(
    text: str, row: Representation, tokens: int, pieces: Callable[[list[int]], list[str]]
) -> str:
    """One text's representations in a few lines: what a person can check by eye."""
    heaviest = np.argsort(-row.sparse_weights)[:_SHOWN]
    terms = pieces(row.sparse_ids[heaviest].tolist())
    weights = row.sparse_weights[heaviest].tolist()
    lexical = "  ".join(f"{term} {weight:.3f}" for term, weight in zip(terms, weights, strict=True))
    dense = " ".join(f"{value:+.3f}" for value in row.dense[:_SHOWN].tolist())
    return (
        f"\n{text}\n"
        f"  tokens   {tokens}\n"
        f"  dense    {dense} … {len(row.dense)} dimensions\n"
        f"  sparse   {lexical} … {len(row.sparse_ids)} terms\n"
        f"  colbert  {len(row.token_ids)} vectors"
    )


def _announce_model(info: ModelInfo) -> None:
    typer.echo(f"m3-embedder serves {_described(info)}")


def _described(info: ModelInfo) -> str:
    kind = ", English-only stand-in" if info.stand_in else ""
    return f"{info.id} ({info.precision}{kind}), fingerprint {info.fingerprint}"


def main() -> None:
    """The entry point."""
    run(app)
