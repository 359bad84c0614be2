"""A table for people, in a notebook or on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_NUMBERS = (int, float)


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """Rows under columns; columns with numbers stand to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""

    def __repr__(self) -> str:
        lines = [self.caption] if self.caption else []
        lines += [" | ".join(self.columns)]
        lines += [" | ".join(_shown(cell) for cell in row) for row in self.rows]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        heads = self._row("th", self.columns)
        body = "".join(f"<tr>{self._row('td', row)}</tr>" for row in self.rows)
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"

    def _row(self, tag: str, cells: Sequence[object]) -> str:
        return "".join(
            f'<{tag} style="text-align: {self._side(i)}">{escape(_shown(cell))}</{tag}>'
            for i, cell in enumerate(cells)
        )

    def _side(self, column: int) -> str:
        numbers = any(isinstance(row[column], _NUMBERS) for row in self.rows)
        return "right" if numbers else "left"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value)
