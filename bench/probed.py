"""The search API, which notes when it is in Milvus, in the table's rows and in the kernel.

`python -m bench.probed FILE [OPTIONS]` is `m3-search serve [OPTIONS]`; when it ends, FILE has
what was noted, by part: the beginning and end of every call, in seconds of `time.perf_counter`,
which processes of one machine share on Linux.
"""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import orjson

from commands.search import main as search
from scoring import exact
from store.index.index import Index
from store.reading.vectors import Vectors
from store.table.version import Version

F = TypeVar("F", bound=Callable[..., Any])

PROBES: dict[str, Sequence[tuple[Any, str]]] = {
    "milvus": [(Index, "search")],
    "rows": [(Version, "take"), (Vectors, "ask"), (Vectors, "read")],
    "kernel": [(exact, "maxsim")],
}


def main() -> None:
    """The entry point."""
    file, *options = sys.argv[1:]
    noted: dict[str, list[tuple[float, float]]] = {part: [] for part in PROBES}
    for part, probes in PROBES.items():
        for owner, name in probes:
            setattr(owner, name, _noted(getattr(owner, name), noted[part]))
    atexit.register(lambda: Path(file).write_bytes(orjson.dumps(noted)))
    sys.argv = ["m3-search", "serve", *options]
    search()


def _noted(call: F, calls: list[tuple[float, float]]) -> F:
    @wraps(call)
    def run(*args: Any, **options: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*args, **options)
        finally:
            calls.append((began, time.perf_counter()))

    return run  # pyright: ignore[reportReturnType] - of the same form


if __name__ == "__main__":
    main()
