"""`m3-ingest retry`: dead letters once more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from commands.ingest.options import MaxErrorsOption
from commands.ingest.outcome import show_outcome
from commands.options import EmbedderUrl, Home, Json
from m3.settings import load_settings


def add(app: typer.Typer) -> None:
    app.command(
        epilog="Example:\n\n`m3-ingest retry dead-letters/docs-20260101T080000Z.jsonl -c docs`"
    )(retry)


def retry(
    files: Annotated[list[Path], typer.Argument(help="Of dead letters.", metavar="FILE")],
    *,
    collection: Annotated[str, typer.Option("--collection", "-c", help="Where to.")],
    max_errors: MaxErrorsOption = None,
    json: Json = False,
    embedder_url: EmbedderUrl = None,
    home: Home = None,
) -> None:
    """Bring dead letters into a collection, as the run would have that they are of.

    A row that a letter keeps may be mended there, in `raw`; else the document is read once more
    from where it was found. What fails again is kept in another file, and once all have been
    tried the given files are removed.
    """
    import anyio  # noqa: PLC0415 - keeps --help quick

    from commands.ingest.running import Feed, Wish, run_ingest  # noqa: PLC0415
    from ingest.deadletters import read_letters  # noqa: PLC0415
    from ingest.retrying import Origins, again  # noqa: PLC0415
    from ingest.running.limits import MaxErrors  # noqa: PLC0415
    from serving.tracing import traced  # noqa: PLC0415

    settings = load_settings(home=home, embedder_url=embedder_url)
    limit = MaxErrors.parsed(max_errors) if max_errors else None
    letters = [letter for file in files for letter in read_letters(file)]
    feed = Feed(again(letters), None, Origins(letters).of)
    # Made anew, it would be of other settings than the run's, and the letters would be gone.
    wish = Wish(collection, made=True)
    with traced(settings, "m3-ingest"):
        outcome = anyio.run(lambda: run_ingest(feed, wish, settings, max_errors=limit))
    if outcome.stopped is None:
        for file in files:
            file.unlink(missing_ok=True)
    show_outcome(outcome, collection, json=json)
