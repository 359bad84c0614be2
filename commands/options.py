"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[
    Path | None, typer.Option(help="State directory.  [M3_HOME]", metavar="DIR", show_default=False)
]
EmbedderUrl = Annotated[
    str | None,
    typer.Option(
        help="Embedder nodes, comma-separated.  [M3_EMBEDDER_URL; http://127.0.0.1:7860]",
        metavar="URL",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")]
