"""Where a body is not JSON: its parser says what is wrong, and of strings not in which one."""

from __future__ import annotations

import json
from typing import Any, cast

import orjson

_LOOKED_THROUGH = 256 * 1024
"""Bytes that are read a second time, for a few milliseconds, to name the string at fault."""

_SHOWN = 100
"""Characters of a place: names of members are the caller's."""


def fault(body: bytes, error: orjson.JSONDecodeError) -> str:
    """Why `orjson` refused a body, with the place: `input[3]`, or which character."""
    if len(body) <= _LOOKED_THROUGH and (place := _no_unicode(body)):
        return f"{place} is not Unicode: bytes that are not UTF-8, or a lone surrogate"
    return f"{error.msg}, at character {error.pos}"


def _no_unicode(body: bytes) -> str | None:
    """The first string that cannot be written in UTF-8, where nothing else is wrong."""
    try:
        # What is not UTF-8 becomes a lone surrogate, which this parser lets pass.
        value = json.loads(body.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        place, node = waiting.pop()
        if isinstance(node, str) and not _is_unicode(node):
            return place.removeprefix(".")[:_SHOWN] or "the body"
        if isinstance(node, list):
            items = enumerate(cast("list[Any]", node))
            waiting += reversed([(f"{place}[{i}]", item) for i, item in items])
        if isinstance(node, dict):
            members = cast("dict[str, Any]", node)
            if not all(map(_is_unicode, members)):
                return "a name of a member"
            waiting += reversed([(f"{place}.{name}", item) for name, item in members.items()])
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
