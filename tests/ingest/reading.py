"""Sources read to their end."""

from __future__ import annotations

from pathlib import Path

from ingest.sources import Fields, Parsed, Reject, discover, read


def everything(*paths: Path) -> list[Parsed | Reject]:
    return list(read(discover([str(path) for path in paths]).files, Fields()))
