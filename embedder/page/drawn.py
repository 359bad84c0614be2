"""The page as Gradio made it, in words that need no Gradio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp


@dataclass(frozen=True, slots=True)
class Drawn:
    """The page as Gradio serves it.

    Attributes:
        inputs: what each of its functions takes, by number: the types each value may have.
    """

    app: ASGIApp
    inputs: Mapping[int, Sequence[tuple[type, ...]]]

    def takes(self, number: int, values: Sequence[Any]) -> bool:
        """Whether a browser with this page could make that call."""
        expected = self.inputs.get(number)
        return (
            expected is not None
            and len(expected) == len(values)
            and all(map(isinstance, values, expected))
        )
