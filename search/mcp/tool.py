"""A tool: what an agent is told of it, and what it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import TypeAdapter

from search.mcp.library import Library


@dataclass(frozen=True, slots=True)
class Answer:
    """The same twice: for programs, and in few words for hosts that show text alone."""

    value: Any
    text: str

    def structured(self) -> dict[str, Any]:
        """The value as JSON."""
        return orjson.loads(orjson.dumps(self.value))


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool.

    Attributes:
        description: for the model that chooses among tools.
        arguments: their JSON Schema.
        shape: the dataclass that its answers are.
        run: raises M3Error for what the caller is told, InvalidInput for its arguments.
    """

    name: str
    title: str
    description: str
    arguments: Mapping[str, Any]
    shape: type
    run: Callable[[Library, Mapping[str, Any]], Awaitable[Answer]]

    def answer_schema(self) -> dict[str, Any]:
        return TypeAdapter[Any](self.shape).json_schema(mode="serialization")


def cut(text: str, characters: int) -> str:
    """In one line, and no longer than that."""
    line = " ".join(text.split())
    return line if len(line) <= characters else f"{line[: characters - 1]}…"
