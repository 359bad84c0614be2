"""docs/settings.md says what the code does, setting by setting."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from m3.settings import Settings

PAGE = Path(__file__).parents[2] / "docs/settings.md"


def expected_rows() -> dict[str, tuple[str, str]]:
    """Name -> default, description."""
    return {
        f"M3_{name.upper()}": (_shown(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    }


def _shown(default: object) -> str:
    if default is PydanticUndefined:
        return "the user's data directory"
    if default is None:
        return "unset"
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default)


def test_the_page_lists_every_setting_with_its_default():
    rows = re.findall(r"^\| `(M3_\w+)` \| `?(.*?)`? \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    listed = {name: (default, description) for name, default, description in rows}
    assert listed == expected_rows()
