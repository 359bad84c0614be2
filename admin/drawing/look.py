"""Colours and type of figures: what the pages of the node and the search API have too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Look:
    """One of two: for light pages or for dark ones.

    Attributes:
        hues: of the three scores, and of what is made of them. Colour is never the only sign.
        series: for things that are none of these, in their order.
        heat: matplotlib's name of a colour map, pale at 0.
    """

    ink: str
    faint: str
    grid: str
    ground: str
    hues: Mapping[str, str]
    series: tuple[str, ...]
    heat: str

    @property
    def rc(self) -> dict[str, Any]:
        """For matplotlib."""
        return {
            "figure.facecolor": self.ground,
            "axes.facecolor": self.ground,
            "savefig.facecolor": self.ground,
            "text.color": self.ink,
            "axes.labelcolor": self.ink,
            "axes.edgecolor": self.faint,
            "axes.titlelocation": "left",
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlepad": 12,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "grid.color": self.grid,
            "grid.linewidth": 0.8,
            "xtick.color": self.faint,
            "ytick.color": self.faint,
            "xtick.labelcolor": self.ink,
            "ytick.labelcolor": self.ink,
            "legend.frameon": False,
            "font.family": "DejaVu Sans",
            "font.size": 10,
            "lines.linewidth": 2,
            "figure.constrained_layout.use": True,
        }


LIGHT = Look(
    ink="#1f2937",
    faint="#6b7280",
    grid="#e5e7eb",
    ground="#ffffff",
    hues={"dense": "#2563eb", "sparse": "#d97706", "colbert": "#059669", "fused": "#7c3aed"},
    series=("#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777", "#64748b"),
    heat="YlGnBu",
)
DARK = Look(
    ink="#e5e7eb",
    faint="#9ca3af",
    grid="#374151",
    ground="#111827",
    hues={"dense": "#60a5fa", "sparse": "#fbbf24", "colbert": "#34d399", "fused": "#c4b5fd"},
    series=("#60a5fa", "#fbbf24", "#34d399", "#c4b5fd", "#f472b6", "#94a3b8"),
    heat="YlGnBu_r",
)
