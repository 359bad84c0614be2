"""Options that the commands on judged queries share."""

from __future__ import annotations

from typing import Annotated

import typer

SPLIT = "test"
"""As `evaluation.judged.qrels` has it, whose import would slow --help."""
Split = Annotated[
    str, typer.Option(help="Of a folder's judgments: qrels/test.tsv, or another.", metavar="NAME")
]
AllowUnknown = Annotated[
    bool,
    typer.Option("--allow-unknown", help="Judged documents may be missing in the collection."),
]
