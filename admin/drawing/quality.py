"""Figures of how good rankings are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from admin.drawing.look import Look
from admin.drawing.picture import Picture, picture
from admin.quality import Landscape
from evaluation.measuring.quality import Measured
from evaluation.tuning.fitting import Tuned
from scoring.fusion import F64, Weights

_HUES = {"dense": "dense", "sparse": "sparse", "colbert": "colbert"}
_CORNERS = np.array([[0.5, np.sqrt(3) / 2], [0.0, 0.0], [1.0, 0.0]])
"""Of dense, sparse and ColBERT."""
_MARKS = ("*", "D", "s")
_SLACK = 0.001
_LEVELS = 16


def methods(measured: Sequence[Measured], metric: str) -> Picture:
    """One metric by method, with 95 % intervals."""

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        for row, each in enumerate(measured):
            mean = each.means[metric]
            low, high = each.intervals[metric] or (mean, mean)
            colour = look.hues[_HUES.get(each.method.value, "fused")]
            axes.plot([low, high], [row, row], color=colour, linewidth=3, solid_capstyle="round")
            axes.plot([mean], [row], "o", color=colour, markersize=10)
            axes.annotate(
                f"{mean:.3f}", (mean, row), (0, 9), textcoords="offset points", ha="center",
                color=look.ink,
            )  # fmt: skip
        axes.set_yticks(range(len(measured)), [each.method.value for each in measured])
        axes.set_ylim(len(measured) - 0.5, -0.7)
        axes.grid(axis="x")
        axes.set_xlabel(f"{metric}, mean and 95 % interval of {len(measured[0].queries):,} queries")
        axes.set_title("Methods compared")

    return picture(draw, f"{metric} of every method with its interval", height=3.8)


def ternary(landscape: Landscape, marked: Mapping[str, Weights]) -> Picture:
    """A metric over all weights of the three scores; each corner is one score alone.

    Args:
        marked: weights to mark, by name.
    """
    points = _flat(landscape.weights)
    least, best = float(landscape.means.min()), float(landscape.means.max())
    # A little beyond the ends, or the best would be left blank.
    ends = (least - _SLACK * (best - least), best + _SLACK * (best - least))

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        levels: Any = np.linspace(*ends, _LEVELS) if best > least else [least - 1, best + 1]
        filled = axes.tricontourf(*points.T, landscape.means, levels=levels, cmap=look.heat)
        axes.plot(*_CORNERS[[0, 1, 2, 0]].T, color=look.faint, linewidth=1)
        for (name, weights), mark in zip(marked.items(), _MARKS, strict=False):
            x, y = _flat(np.array([weights.normalised()]))[0]
            axes.plot(
                [x], [y], mark, markersize=15 if mark == "*" else 9, color=look.hues["sparse"],
                markeredgecolor=look.ground, label=name, linestyle="none",
            )  # fmt: skip
        _corners(axes, look)
        axes.set_aspect("equal")
        axes.axis("off")
        axes.legend(loc="upper left")
        axes.set_title(f"{landscape.metric} for all weights, at best {best:.3f}", pad=24)
        figure.colorbar(filled, ax=axes, label=landscape.metric, shrink=0.8, format="%.3f")

    return picture(draw, f"{landscape.metric} over all weights", width=8, height=5.6)


def weights_by_fold(tuned: Tuned) -> Picture:
    """Default weights, fitted ones, and what each fold alone would choose."""
    rows = {"default": tuned.default, "tuned": tuned.weights}
    rows |= {f"fold {i}": weights for i, weights in enumerate(tuned.folds, 1)}
    shares = np.array([weights.normalised() for weights in rows.values()])

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        left = np.zeros(len(rows))
        for column, (name, hue) in enumerate(
            (("dense", "dense"), ("sparse", "sparse"), ("ColBERT", "colbert"))
        ):
            bars = axes.barh(
                list(rows), shares[:, column], left=left, color=look.hues[hue], label=name
            )
            shown = [f"{share:.2f}" if share >= 0.06 else "" for share in shares[:, column]]
            axes.bar_label(bars, shown, label_type="center", color=look.ground)
            left += shares[:, column]
        axes.axhline(1.5, color=look.faint, linewidth=1)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the weights")
        axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1.0))
        axes.set_title("Weights: how sure are they?")

    return picture(draw, "Default, tuned and per-fold weights", height=3.6)


def _flat(weights: F64) -> F64:
    """[w, 2]: where weights [w, 3] lie in the triangle."""
    return weights @ _CORNERS


def _corners(axes: Any, look: Look) -> None:
    for (x, y), name, side, lift in zip(
        _CORNERS,
        ("dense", "sparse", "ColBERT"),
        ("center", "right", "left"),
        (8, -4, -4),
        strict=True,
    ):
        along = {"center": 0, "right": -8, "left": 8}[side]
        axes.annotate(
            name, (x, y), (along, lift), textcoords="offset points", ha=side, color=look.ink,
            weight="bold",
        )  # fmt: skip
