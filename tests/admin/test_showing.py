"""Tables and pictures as pages show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from admin.drawing.look import Look
from admin.drawing.picture import picture
from admin.table import Table


def test_a_tables_words_are_escaped_and_its_numbers_stand_right() -> None:
    table = Table(("name", "n"), [("<b>x</b>", 1234), ("y", None)], "a < b")
    html = table._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert '<td style="text-align: right">1,234</td>' in html
    assert "<caption>a &lt; b</caption>" in html
    assert repr(table).splitlines() == ["a < b", "name | n", "<b>x</b> | 1,234", "y | "]


def test_a_picture_is_drawn_for_both_kinds_of_page(tmp_path: Path) -> None:
    grounds: list[str] = []

    def draw(figure: Any, look: Look) -> None:
        grounds.append(look.ground)
        figure.subplots().plot([1, 2], color=look.ink)

    shown = picture(draw, 'a "line"')
    assert len({*grounds}) == 2
    assert shown.light != shown.dark
    html = shown._repr_html_()
    assert html.count("<img") == 2
    assert 'alt="a &quot;line&quot;"' in html
    shown.save(tmp_path / "line")
    assert (tmp_path / "line.png").read_bytes() == shown.light
    assert (tmp_path / "line-dark.png").read_bytes() == shown.dark
