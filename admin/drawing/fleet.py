"""Figures of a fleet over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from admin.drawing.look import Look
from admin.drawing.picture import Picture, picture
from admin.fleet import Series, Watched

_STYLES = ("-", "--", "-.", ":")
Lines = Mapping[str, Series]


def nodes(watched: Mapping[str, Watched]) -> Picture:
    """Tokens computed, tokens waiting, and the time requests take, of every node."""
    found = {name: each for name, each in watched.items() if name.startswith("node")}
    panels = {
        "tokens a second": {name: each.rate("m3_tokens_total") for name, each in found.items()},
        "tokens waiting": {name: each.gauge("m3_queue_tokens") for name, each in found.items()},
        "/v1/encode,\np95, ms": {
            name: _ms(each.quantile(0.95, "m3_http_request_seconds", route="/v1/encode"))
            for name, each in found.items()
        },
    }
    return _panels(panels, "Nodes", "Tokens a second, queue and latency of every node")


def searches(watched: Watched) -> Picture:
    """Searches a second, and where their time goes; `retrieve` is Milvus and the table."""
    phases = ("embed", "retrieve", "rerank", "total")
    panels = {
        "searches a second": {"answered": watched.rate("m3_searches_total")},
        "a search,\np50, ms": {
            phase: _ms(watched.quantile(0.5, "m3_search_seconds", phase=phase)) for phase in phases
        },
        "a search,\np95, ms": {
            phase: _ms(watched.quantile(0.95, "m3_search_seconds", phase=phase)) for phase in phases
        },
    }
    return _panels(panels, "Searches", "Searches a second and the time of their phases")


def milvus(watched: Watched) -> Picture:
    """Cores that Milvus keeps busy, and its memory."""
    memory = watched.gauge("process_resident_memory_bytes")
    panels = {
        "busy cores": {"Milvus": watched.rate("process_cpu_seconds_total")},
        "memory, MB": {"Milvus": Series(memory.at, [value / 1e6 for value in memory.values])},
    }
    return _panels(panels, "Milvus", "Busy cores and memory of Milvus")


def _ms(series: Series) -> Series:
    return Series(series.at, [1000 * value for value in series.values])


def _top(lines: Lines) -> float:
    """The upper end of an axis: some air above the highest value, 1 where there is none."""
    values = [value for series in lines.values() for value in series.values if value > 0]
    return 1.15 * max(values, default=1 / 1.15)


def _panels(panels: Mapping[str, Lines], title: str, text: str) -> Picture:
    """One below the other, over the same seconds."""

    def draw(figure: Any, look: Look) -> None:
        all_axes = figure.subplots(len(panels), 1, sharex=True)
        for axes, (label, lines) in zip(all_axes, panels.items(), strict=True):
            for i, (name, series) in enumerate(lines.items()):
                colour, style = look.series[i % len(look.series)], _STYLES[i % len(_STYLES)]
                axes.plot(series.at, series.values, style, color=colour, marker=".", label=name)
            axes.set_ylabel(label)
            axes.set_ylim(0, _top(lines))
            axes.grid(axis="y")
            if len(lines) > 1:
                axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        all_axes[-1].set_xlabel("seconds")
        all_axes[0].set_title(title)

    return picture(draw, text, width=9, height=1.0 + 1.6 * len(panels))
