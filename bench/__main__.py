"""`python -m bench [NAME [OPTIONS]]`: run benchmarks, print a table each, save JSON."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click
import typer

from bench.measure import Result

ALL = ("parity", "maxsim", "encode", "http", "overload", "search")
"""What runs where no name is given."""
NAMED = ("fidelity", "int8-engines")
"""What needs a collection or more packages."""


def main() -> None:
    # As a node does: threads that wait by spinning cost most where others need the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    name, *options = sys.argv[1:] or [""]
    if not name:
        for each in ALL:
            _show(_run(each, []))
    elif name in ("-h", "--help"):
        print(f"{__doc__}\nNames: {', '.join((*ALL, *NAMED))}; each has --help.")
    elif name in (*ALL, *NAMED):
        _show(_run(name, options))
    else:
        sys.exit(f"no benchmark {name!r}; there are: {', '.join((*ALL, *NAMED))}")


def _run(name: str, options: Sequence[str]) -> Result | None:
    """The benchmark's result; none where its help was asked for."""
    app = typer.Typer(add_completion=False)
    app.command(name)(importlib.import_module(f"bench.{name.replace('-', '_')}").run)
    command: Any = typer.main.get_command(app)
    try:
        result = command.main(list(options), f"python -m bench {name}", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    return result if isinstance(result, Result) else None


def _show(result: Result | None) -> None:
    if result is not None:
        result.show()
        print(f"  saved: {result.save()}\n")


if __name__ == "__main__":
    main()
