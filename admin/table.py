"""A table for people, in a notebook or on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_NUMBERS = (int, float)


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """Rows under columns; numbers stand to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""

    def __repr__(self) -> str:
        lines = [self.caption] if self.caption else []
        lines += [" | ".join(self.columns)]
        lines += [" | ".join(_shown(cell) for cell in row) for row in self.rows]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        heads = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in self.rows)
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    side = "right" if isinstance(value, _NUMBERS) else "left"
    return f'<td style="text-align: {side}">{escape(_shown(value))}</td>'


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value)
