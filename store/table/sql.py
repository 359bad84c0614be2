"""Parts of Lance's SQL conditions."""

from __future__ import annotations

from collections.abc import Iterable


def literal(text: str) -> str:
    """Any text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def joined(ids: Iterable[int]) -> str:
    return ",".join(map(str, ids))


def quoted(words: Iterable[str]) -> str:
    """Hexadecimal words as SQL literals."""
    return ",".join(f"'{word}'" for word in words)
