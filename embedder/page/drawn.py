"""The page as Gradio made it, in words that need no Gradio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp


@dataclass(frozen=True, slots=True)
class Drawn:
    """The page as Gradio serves it.

    Attributes:
        inputs: how many values each of its functions takes, by number.
    """

    app: ASGIApp
    inputs: Mapping[int, int]
