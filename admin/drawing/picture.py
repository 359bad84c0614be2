"""A figure that fits the page it is shown on."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from admin.drawing.look import DARK, LIGHT, Look

Draw = Callable[[Any, Look], None]
"""Draws on a figure. matplotlib is typed in part only: figures and axes are Any here."""

_mpl: Any = matplotlib

_DPI = 160
_PIXELS = 96
"""Of an inch, on a screen."""
_STYLE = """<style>
.m3-dark { display: none !important }
@media (prefers-color-scheme: dark) {
  body:not([data-jp-theme-light="true"]) .m3-light { display: none !important }
  body:not([data-jp-theme-light="true"]) .m3-dark { display: block !important }
}
body[data-jp-theme-light="false"] .m3-light { display: none !important }
body[data-jp-theme-light="false"] .m3-dark { display: block !important }
</style>"""
"""JupyterLab says which theme it has; other pages go by the reader's system.

Important, because JupyterLab has a rule of its own that displays every image.
"""


@dataclass(frozen=True, slots=True, repr=False)
class Picture:
    """A figure as PNG, for light and for dark pages.

    Attributes:
        text: what it shows, for those who do not see it.
    """

    light: bytes
    dark: bytes
    text: str
    width: float

    def __repr__(self) -> str:
        return f"<picture: {self.text}>"

    def _repr_html_(self) -> str:
        images = "".join(
            f'<img class="m3-{name}" alt="{escape(self.text)}" '
            f'style="width: {self.width * _PIXELS:.0f}px; max-width: 100%" '
            f'src="data:image/png;base64,{b64encode(png).decode()}">'
            for name, png in (("light", self.light), ("dark", self.dark))
        )
        return _STYLE + images

    def save(self, path: Path) -> None:
        """As `path`.png and `path`-dark.png."""
        path.with_name(f"{path.name}.png").write_bytes(self.light)
        path.with_name(f"{path.name}-dark.png").write_bytes(self.dark)


def picture(draw: Draw, text: str, *, width: float = 8.0, height: float = 4.0) -> Picture:
    """Draw twice. Width and height are inches."""
    light, dark = (_png(draw, look, width, height) for look in (LIGHT, DARK))
    return Picture(light, dark, text, width)


def _png(draw: Draw, look: Look, width: float, height: float) -> bytes:
    file = io.BytesIO()
    with _mpl.rc_context(look.rc):
        figure: Any = Figure(figsize=(width, height))
        draw(figure, look)
        figure.savefig(file, format="png", dpi=_DPI)
    return file.getvalue()
