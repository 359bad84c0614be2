"""A table of a web page, as a table of markdown."""

from __future__ import annotations


class Grid:
    """Rows of cells, as they come.

    Attributes:
        in_cell: whether one is open.
        layout: whether the table has shown to place blocks on the page, and holds no data.
    """

    def __init__(self) -> None:
        self.in_cell = False
        self.layout = False
        self._rows: list[list[str]] = []
        self._cells: list[str] = []

    def end_cell(self, text: str) -> None:
        self._cells.append(text)
        self.in_cell = False

    def end_row(self) -> None:
        """A row without any text is none."""
        if any(self._cells):
            self._rows.append(self._cells)
        self._cells = []

    def blocks(self) -> list[str]:
        """What there is, taken out: a table, or paragraphs where no row has two cells."""
        self.end_row()
        rows, self._rows = self._rows, []
        width = max(map(len, rows), default=0)
        if width <= 1 or (self.layout and len(rows) == 1):
            return [cell for row in rows for cell in row if cell]
        head, *body = (f"| {' | '.join(map(_escaped, row))} |" for row in rows)
        return ["\n".join([head, f"|{' --- |' * width}", *body])]


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
