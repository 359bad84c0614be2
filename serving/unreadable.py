"""Where a body is not JSON: its parser says what is wrong, and of strings not in which one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, cast

import orjson

from serving.problems import item

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
        steps = _steps(json.loads(body.decode("utf-8", "surrogateescape")))
    except (ValueError, RecursionError):
        return None
    if steps is None:
        return None
    if None in steps:
        return "a name of a member"
    return item(cast("list[str | int]", steps))[:_SHOWN] or "the body"


def _steps(value: Any) -> list[str | int | None] | None:
    """To the first string that is no Unicode; the last is None where it names a member."""
    if isinstance(value, str):
        return None if _is_unicode(value) else []
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        if not all(map(_is_unicode, members)):
            return [None]
        children: Iterable[tuple[str | int, Any]] = members.items()
    elif isinstance(value, list):
        children = enumerate(cast("list[Any]", value))
    else:
        return None
    for step, child in children:
        if (rest := _steps(child)) is not None:
            return [step, *rest]
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
