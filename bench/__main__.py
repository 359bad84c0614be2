"""`python -m bench [NAME [OPTIONS]]`: run benchmarks, print a table each, save JSON."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

from bench.measure import Result

ALL = ("parity", "maxsim", "peak", "encode", "http", "overload", "refusals", "search")
"""What runs where no name is given."""
NAMED = (
    "bulk",
    "compaction",
    "explain",
    "fidelity",
    "fleet",
    "ingest",
    "ingest-efficiency",
    "ingest-long",
    "ingest-unchanged",
    "int8-engines",
    "node-peers",
    "peers",
    "pooling",
    "rows",
    "search-latency",
    "search-rest",
    "tenancy",
    "union",
    "tuning",
)
"""What needs a collection or more packages."""


def main() -> None:
    # As a node does: threads that wait by spinning cost most where others need the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    name, *options = sys.argv[1:] or [""]
    if not name:
        for each in ALL:
            _shown(_benchmark(each))()
    elif name in ("-h", "--help"):
        print(f"{__doc__}\nNames: {', '.join((*ALL, *NAMED))}; each has --help.")
    elif name in (*ALL, *NAMED):
        app = typer.Typer(add_completion=False)
        app.command(name)(_shown(_benchmark(name)))
        app(options, prog_name=f"python -m bench {name}")
    else:
        sys.exit(f"no benchmark {name!r}; there are: {', '.join((*ALL, *NAMED))}")


def _benchmark(name: str) -> Callable[..., Result]:
    return importlib.import_module(f"bench.{name.replace('-', '_')}").run


def _shown(run: Callable[..., Result]) -> Callable[..., None]:
    """The benchmark with the same options, its result printed and saved."""

    @wraps(run)
    def run_and_show(*args: Any, **options: Any) -> None:
        result = run(*args, **options)
        result.show()
        print(f"  saved: {result.save()}\n")

    return run_and_show


if __name__ == "__main__":
    main()
