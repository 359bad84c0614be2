"""Figures of one query."""

from __future__ import annotations

from typing import Any

import numpy as np

from admin.drawing.look import Look
from admin.drawing.picture import Picture, picture
from admin.query import SCORES, Alignment, Seen, terms

_NAMES = {"dense": "dense", "sparse": "sparse", "colbert": "ColBERT", "fused": "fused"}
_COLUMNS = (*SCORES, "fused")
_ID = 30
"""Characters of a hit's id."""
_WIDEST = 40
"""Passage tokens that a heat map shows: those around what the query's tokens meet."""


def ranks(seen: Seen, top: int = 8) -> Picture:
    """Where the best of the fusion stand in each ranking; beyond 2 × top is one line."""
    best = seen.order("fused")[:top]
    places = {chunk: seen.place(chunk) for chunk in best}
    floor = 2 * top + 1

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        for chunk in reversed(best):
            depth = [min(places[chunk][by], floor) for by in _COLUMNS]
            first = chunk == best[0]
            colour = look.hues["fused"] if first else look.faint
            axes.plot(depth, color=colour, marker="o", markersize=7, alpha=1 if first else 0.65)
            axes.annotate(
                _short(seen.chunks[chunk].id, _ID),
                (len(_COLUMNS) - 1, depth[-1]),
                (10, 0),
                textcoords="offset points",
                va="center",
                color=look.ink,
                weight="bold" if first else "normal",
            )
        axes.set_xticks(range(len(_COLUMNS)), [_NAMES[by] for by in _COLUMNS])
        ticks = [1, top, floor]
        axes.set_yticks(ticks, [*map(str, ticks[:-1]), f"> {floor - 1}"])
        axes.set_ylim(floor + 0.7, 0.3)
        axes.set_xlim(-0.2, len(_COLUMNS) - 0.4)
        axes.set_ylabel("rank")
        axes.grid(axis="x")
        axes.set_title(f"Where the {len(best)} best stand: {_short(seen.text)}")

    return picture(draw, f"Ranks by each score of the best passages for: {seen.text}", height=4.5)


def contributions(seen: Seen, top: int = 8) -> Picture:
    """What each score adds to the fused score of the best."""
    best = seen.order("fused")[:top]

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        left = np.zeros(len(best))
        for column, by in enumerate(SCORES):
            share = seen.shares[best, column]
            axes.barh(range(len(best)), share, left=left, color=look.hues[by], label=_NAMES[by])
            left += share
        for row, total in enumerate(left):
            axes.annotate(f" {total:.3f}", (total, row), va="center", color=look.ink)
        axes.set_yticks(range(len(best)), [_short(seen.chunks[i].id, _ID) for i in best])
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel("share of the fused score")
        axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1.0))
        axes.set_title("What each score adds")

    return picture(draw, "Shares of dense, sparse and ColBERT in the fused scores", height=3.8)


def term_weights(seen: Seen, chunk: int | None = None, most: int = 12) -> Picture:
    """The query's terms: their weight in the query, and in a passage, the best unless named."""
    shown = terms(seen, chunk)[:most]

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        rows = np.arange(len(shown))
        asked, found = [weight for _, weight, _ in shown], [weight for _, _, weight in shown]
        axes.barh(rows - 0.2, asked, 0.38, color=look.hues["sparse"], label="in the query")
        axes.barh(rows + 0.2, found, 0.38, color=look.faint, label="in the passage")
        axes.set_yticks(rows, [term for term, _, _ in shown])
        axes.invert_yaxis()
        axes.set_xlabel("learned term weight")
        axes.legend(loc="lower right")
        axes.set_title("Terms: their products add up to the sparse score")

    height = 1.4 + 0.32 * len(shown)
    return picture(draw, "Learned weights of the query's terms", width=7, height=height)


def alignment_map(found: Alignment) -> Picture:
    """Similarity of every pair of tokens; the passage token that each query token meets is framed.

    Of a longer passage, the tokens around those that are met.
    """
    best = found.similarity.argmax(axis=1)
    begin = int(np.clip(np.median(best) - _WIDEST // 2, 0, max(len(found.passage) - _WIDEST, 0)))
    shown = found.similarity[:, begin : begin + _WIDEST]
    score = float(found.similarity.max(axis=1).mean())

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        image = axes.imshow(shown, aspect="auto", cmap=look.heat, vmin=0, vmax=1)
        for row, column in enumerate(best - begin):
            if 0 <= column < shown.shape[1]:
                _frame(axes, row, int(column), look)
        axes.set_yticks(range(len(found.query)), found.query)
        names = found.passage[begin : begin + _WIDEST]
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_ylabel("query tokens")
        axes.set_xlabel("passage tokens")
        axes.set_title(f"ColBERT: the mean of each row's best is {score:.3f}")
        figure.colorbar(image, ax=axes, label="inner product", pad=0.015)

    height = 2.4 + 0.28 * len(found.query)
    return picture(draw, "Similarity of query and passage tokens", width=10, height=height)


def _frame(axes: Any, row: int, column: int, look: Look) -> None:
    x, y = column - 0.5, row - 0.5
    axes.plot(
        [x, x + 1, x + 1, x, x], [y, y, y + 1, y + 1, y], color=look.hues["sparse"], linewidth=1.8
    )


def _short(text: str, most: int = 50) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
