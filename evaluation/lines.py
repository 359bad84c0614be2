"""Files of lines as evaluation reads them; what is wrong with one is said with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import orjson

from m3.errors import InvalidInput


def text_lines(path: Path) -> list[str]:
    """Without their ends. Raises InvalidInput for a file that cannot be read as UTF-8."""
    try:
        return path.read_text("utf-8").splitlines()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not a text file in UTF-8") from error


def json_object(line: str | bytes, place: object) -> dict[str, Any] | None:
    """None for JSON that is no object. Raises InvalidInput for what is no JSON."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"{place}: invalid JSON: {error}") from error
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
