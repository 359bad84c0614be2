"""Figures of what smaller codes and quicker arithmetic cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from admin.benches import Fidelity
from admin.codecs import Cost
from admin.drawing.look import Look
from admin.drawing.picture import Picture, picture

_MARKS = ("o", "s", "D", "^", "v", "P")


def quality_of_codes(found: Sequence[Cost]) -> Picture:
    """nDCG@10 of the fusion with its interval, against the bytes of a passage's codes."""

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        for cost, colour, mark in zip(found, look.series, _MARKS, strict=False):
            low, high = cost.ndcg_interval or (cost.ndcg, cost.ndcg)
            spread = [[cost.ndcg - low], [high - cost.ndcg]]
            axes.errorbar(
                cost.passage_bytes / 1000, cost.ndcg, spread, fmt=mark, color=colour,
                markersize=9, elinewidth=1.4, capsize=4, label=cost.kind,
            )  # fmt: skip
        axes.set_xscale("log")
        ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
        shown = [cost.passage_bytes / 1000 for cost in found]
        kept = [tick for tick in ticks if min(shown) / 2 <= tick <= max(shown) * 2]
        axes.set_xticks(kept, [f"{tick:g}" for tick in kept])
        axes.minorticks_off()
        axes.grid()
        axes.set_xlabel("kB of ColBERT codes a passage")
        axes.set_ylabel("nDCG@10 of the fusion")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        axes.set_title("What smaller codes cost, with 95 % intervals")

    return picture(draw, "nDCG@10 against bytes of ColBERT codes, with intervals", width=9)


def time_of_codes(found: Sequence[Cost]) -> Picture:
    """MaxSim's time for one query over all passages, of codes that have a kernel."""
    timed = [(cost.kind, cost.milliseconds) for cost in found if cost.milliseconds is not None]

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        names, values = [name for name, _ in timed], [value for _, value in timed]
        bars = axes.barh(names, values, color=look.hues["colbert"])
        axes.bar_label(bars, fmt="{:.1f} ms", padding=4, color=look.ink)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_xlabel("ms a query")
        axes.set_title("MaxSim of one query over all passages")

    return picture(draw, "Time of MaxSim by codec", width=7, height=2.4)


def arithmetic(found: Sequence[Fidelity], method: str = "fusion") -> Picture:
    """How much faster an arithmetic is, and what it loses in nDCG@10, by collection."""
    shown = [each for each in found if each.method == method]
    collections = list(dict.fromkeys(each.collection for each in shown))
    reach = 1.2 * max(0.008, *(abs(each.loss) for each in shown))

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=look.faint, linewidth=1)
        for name, colour, mark in zip(collections, look.series, _MARKS, strict=False):
            points = [each for each in shown if each.collection == name]
            speed, loss = [each.faster for each in points], [-each.loss for each in points]
            axes.plot(speed, loss, mark, color=colour, markersize=9, label=name)
        for each in shown:
            if each.collection == collections[0]:
                axes.annotate(
                    each.engine, (each.faster, -reach), (0, 8), textcoords="offset points",
                    ha="center", color=look.ink, weight="bold",
                )  # fmt: skip
        axes.set_ylim(-reach, reach)
        axes.grid(axis="y")
        axes.margins(x=0.12)
        axes.set_xlabel("times faster than fp32 (BGE-M3, texts of 512 tokens, one core)")
        axes.set_ylabel("nDCG@10 against fp32")
        axes.legend(loc="upper right")
        axes.set_title(f"What quicker arithmetic costs: {method}")

    return picture(draw, "Speed and loss of nDCG@10 by arithmetic")
