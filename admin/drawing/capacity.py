"""Figures of what a size and a load need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from admin.benches import Speed
from admin.capacity import Demand, nodes, parts
from admin.drawing.look import Look
from admin.drawing.picture import Picture, picture
from ingest.sizing import Load, size

_GB = 1e9
_HATCHES = {"dense": "", "sparse": "//", "ColBERT": "", "text": "..", "rest": ""}


def chunk_bytes(load: Load) -> Picture:
    """What a chunk's bytes are for, by codec."""
    found = parts(load)

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        left = np.zeros(len(found))
        names = list(next(iter(found.values())))
        hues = {**look.hues, "ColBERT": look.hues["colbert"], "text": look.faint}
        for name in names:
            values = np.array([kinds[name] for kinds in found.values()]) / 1000
            colour = hues.get(name, look.grid)
            axes.barh(
                list(found), values, left=left, label=name, color=colour, hatch=_HATCHES[name],
                edgecolor=look.ground, linewidth=0.5,
            )  # fmt: skip
            left += values
        for row, total in enumerate(left):
            axes.annotate(f" {total:,.0f} kB", (total, row), va="center", color=look.ink)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel("kB of one chunk in the table")
        axes.legend(ncols=5, loc="upper left", bbox_to_anchor=(-0.01, -0.2))
        axes.set_title(f"A chunk of {load.tokens} tokens, {load.dimension} dimensions, by codec")

    return picture(draw, "Bytes of a chunk by codec and what they are for", height=3.4)


def growth(load: Load) -> Picture:
    """Disk and memory from a hundredth of the load's chunks to a hundred times as many."""
    counts = np.geomspace(load.chunks / 100, load.chunks * 100, 33)
    sizes = [size(replace(load, chunks=int(count))) for count in counts]
    lines = {
        "table, on disk": [each.table_bytes / _GB for each in sizes],
        "Milvus HNSW, in memory": [each.hnsw_bytes / _GB for each in sizes],
        "Milvus FLAT, in memory": [each.flat_bytes / _GB for each in sizes],
    }

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        for (name, values), colour, style in zip(
            lines.items(), look.series, ("-", "--", ":"), strict=False
        ):
            axes.loglog(counts, values, style, color=colour, label=name)
        axes.axvline(load.chunks, color=look.faint, linewidth=1)
        top = (load.chunks, 1)
        axes.annotate(
            f" {load.chunks:,} chunks", top, (0, -12), xycoords=("data", "axes fraction"),
            textcoords="offset points", color=look.ink,
        )  # fmt: skip
        axes.grid()
        axes.set_xlabel(f"chunks of {load.tokens} tokens")
        axes.set_ylabel("GB")
        axes.legend(loc="lower right")
        axes.set_title(f"Growth, {load.codec.value} codes of {load.dimension} dimensions")

    return picture(draw, "Disk and memory against the number of chunks")


def throughput(speeds: Sequence[Speed]) -> Picture:
    """Tokens a second of one core, by length of texts and arithmetic."""
    mixes = list(dict.fromkeys(speed.mix for speed in speeds))
    engines = list(dict.fromkeys(speed.engine for speed in speeds))
    rate = {(speed.mix, speed.engine): speed.rate for speed in speeds}

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        wide = 0.8 / len(engines)
        for i, engine in enumerate(engines):
            places = np.arange(len(mixes)) + (i - (len(engines) - 1) / 2) * wide
            values = [rate[mix, engine] for mix in mixes]
            bars = axes.bar(places, values, wide * 0.92, color=look.series[i], label=engine)
            axes.bar_label(bars, fmt="{:,.0f}", padding=2, color=look.ink)
        axes.set_xticks(range(len(mixes)), [mix.replace(", ", "\n") for mix in mixes])
        axes.set_ylabel("tokens a second of one core")
        axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1.0))
        axes.set_title("BGE-M3 on one CPU core")

    return picture(draw, "Tokens a second of one core by arithmetic and length")


def nodes_needed(demand: Demand, speeds: Sequence[Speed]) -> Picture:
    """Nodes for up to three times as many queries, by arithmetic; the demand is marked."""
    engines = list(dict.fromkeys(speed.engine for speed in speeds))
    loads = np.linspace(demand.queries / 100, demand.queries * 3, 240)

    def draw(figure: Any, look: Look) -> None:
        axes = figure.subplots()
        for engine, colour, style in zip(engines, look.series, ("-", "--", "-."), strict=False):
            needed = [nodes(replace(demand, queries=load), speeds, engine) for load in loads]
            axes.step(loads, needed, style, where="post", color=colour, label=engine)
            here = nodes(demand, speeds, engine)
            axes.plot([demand.queries], [here], "o", color=colour, markersize=8)
            axes.annotate(
                f"{here}", (demand.queries, here), (-9, 5), textcoords="offset points", ha="right",
                color=look.ink, weight="bold",
            )  # fmt: skip
        axes.axvline(demand.queries, color=look.faint, linewidth=1)
        axes.grid(axis="y")
        axes.set_ylim(0)
        axes.set_xlim(0)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel(
            f"queries a second of {demand.query_tokens} tokens, "
            f"beside {demand.chunks_a_day:,.0f} chunks a day"
        )
        axes.set_ylabel(f"nodes of {demand.cores} cores")
        axes.legend(loc="upper left")
        axes.set_title("How many nodes")

    return picture(draw, "Nodes needed against queries a second, by arithmetic")
