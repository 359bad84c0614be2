"""Tables and pictures as pages show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from admin.drawing.look import Look
from admin.drawing.picture import picture
from admin.table import Table
from tests.browser import browser, missing

LACKS = missing()
JUPYTER = "<style>.jp-RenderedHTMLCommon img { display: block }</style>"
"""Of JupyterLab's own style, what has a say in which picture is seen."""


def test_a_tables_words_are_escaped_and_its_numbers_stand_right() -> None:
    table = Table(("name", "n"), [("<b>x</b>", 1234), ("y", None)], "a < b")
    html = table._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert '<td style="text-align: right">1,234</td>' in html
    assert '<th style="text-align: right">n</th>' in html
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


@pytest.mark.skipif(bool(LACKS), reason=f"needs {LACKS}")
def test_a_page_shows_the_one_that_fits() -> None:
    """JupyterLab's theme where it says one, and otherwise the reader's own."""
    html = picture(lambda figure, _: figure.subplots(), "axes")._repr_html_()
    with browser() as chromium:
        for system in ("light", "dark"):
            page = chromium.new_context(color_scheme=system).new_page()
            for theme, seen in (("true", "light"), ("false", "dark"), (None, system)):
                said = "" if theme is None else f' data-jp-theme-light="{theme}"'
                body = f'<body{said}><div class="jp-RenderedHTMLCommon">{html}</div></body>'
                page.set_content(JUPYTER + body)
                shown = page.locator("img").evaluate_all(
                    "all => all.filter(each => each.offsetWidth).map(each => each.className)"
                )
                assert shown == [f"m3-{seen}"]
