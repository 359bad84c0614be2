"""Folders and globs to the files they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

_WILD = frozenset("*?[")


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below, in the order of names. Raises OSError for a folder that cannot be read.

    Hidden ones are left out, and folders behind links, so that a loop of them ends.
    """
    for root, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and _is_file(path):
                yield path


def is_pattern(given: str) -> bool:
    return not _WILD.isdisjoint(given)


def files_matching(pattern: str) -> tuple[Path, list[Path]]:
    """The folder before a pattern's first wildcard, and the files that match, by name.

    `**` is any depth of folders, not behind links. Hidden files match what says their dot.
    """
    parts = PurePath(pattern).parts
    first = next(i for i, part in enumerate(parts) if is_pattern(part))
    folder, wild = Path(*parts[:first]), parts[first:]
    if wild[-1] == "**":
        wild = (*wild, "*")
    hidden = any(part.startswith(".") for part in wild)
    found = {
        path
        for path in folder.glob(str(PurePath(*wild)))
        if _is_file(path) and (hidden or not _is_hidden(path.relative_to(folder)))
    }
    return folder, sorted(found)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_file(path: Path) -> bool:
    """Sockets and pipes would never end; a link that leads nowhere stays: reading it says so."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _raise(error: OSError) -> None:
    raise error
