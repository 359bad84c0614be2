"""The three recipes: what is read, how long, how it is fused, and what the paper found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evaluation.recipes import miracl, mkqa, mldr
from evaluation.recipes.collection import Published
from evaluation.recipes.protocol import METHODS, Fusing
from m3.errors import InvalidInput
from scoring.fusion import Weights

Metric = Literal["nDCG@10", "Recall@100"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One experiment of the paper.

    Attributes:
        query_tokens, passage_tokens: that the model reads, special ones included.
        published: what the paper found by method, the mean over all languages, 1 being perfect.
    """

    name: str
    languages: Sequence[str]
    read: Callable[[Path, str], Published]
    metric: Metric
    query_tokens: int
    passage_tokens: int
    fusing: Fusing
    published: Mapping[str, float]

    def collection(self, folder: Path, language: str) -> Published:
        """Raises InvalidInput for a language that it does not have, or files that are missing."""
        if language not in self.languages:
            raise InvalidInput(
                f"{self.name} has no language {language!r}; there are: {', '.join(self.languages)}"
            )
        return self.read(folder, language)


def _by_method(*values: float) -> Mapping[str, float]:
    return dict(zip(METHODS, values, strict=True))


_EVEN = Fusing(Weights(1, 0.3, 0), Weights(1, 0.3, 1))

_RECIPES = (
    Recipe(
        # The scripts that are published leave out MIRACL: lengths and weights are MKQA's.
        "miracl",
        miracl.LANGUAGES,
        miracl.read,
        metric="nDCG@10",
        query_tokens=512,
        passage_tokens=512,
        fusing=_EVEN,
        published=_by_method(0.692, 0.539, 0.705, 0.704, 0.715),
    ),
    Recipe(
        "mkqa",
        mkqa.LANGUAGES,
        mkqa.read,
        metric="Recall@100",
        query_tokens=512,
        passage_tokens=512,
        fusing=_EVEN,
        published=_by_method(0.751, 0.453, 0.753, 0.753, 0.755),
    ),
    Recipe(
        "mldr",
        mldr.LANGUAGES,
        mldr.read,
        metric="nDCG@10",
        query_tokens=512,
        passage_tokens=8192,
        fusing=Fusing(Weights(0.2, 0.8, 0), Weights(0.15, 0.5, 0.35)),
        published=_by_method(0.525, 0.622, 0.576, 0.648, 0.650),
    ),
)
RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}


def recipe_named(name: str) -> Recipe:
    """Raises InvalidInput, with the recipes there are."""
    if name not in RECIPES:
        raise InvalidInput(f"unknown recipe {name!r}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]
