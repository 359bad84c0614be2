"""What the bodies of both HTTP faces are made of: however wrong one is, it has few faults.

Pydantic writes every fault down before the first is told: 100,000 of them take a second and over
a hundred megabytes. So a list that may be long stops at its first (`FailFast`); others have a
`max_length`, beyond which none is looked at.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

MOST_MEMBERS = 64
"""Of an object whose members are checked one by one: more than any of ours has."""


def whole_number(value: Any) -> Any:
    """5 for 5.0, which JSON Schema, and some languages' writers, count among the integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _few(value: Any) -> Any:
    members = cast("Sized", value) if isinstance(value, dict) else ()
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"an object of {len(members)} members; it may have {MOST_MEMBERS}")
    return cast("Any", value)


FEW_MEMBERS = BeforeValidator(_few)
"""For a dict of which `max_length` would be held only once every value was looked at."""


class Body(BaseModel):
    """An object whose unknown members are refused, so that a misspelt one is told."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_few_members(cls, value: Any) -> Any:
        return _few(value)
