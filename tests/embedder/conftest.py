"""A node whose page its tests visit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import COMMANDS, server


@pytest.fixture(scope="package")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Gradio would put files that browsers send it."""
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="package")
def page_url(stand_in: Path, uploads: Path) -> Iterator[str]:
    """Of a node that serves the stand-in; nobody has looked at its page yet."""
    arguments = [COMMANDS / "m3-embedder", "serve", "--port", "0", "--model", stand_in]
    with server(arguments, {"GRADIO_TEMP_DIR": str(uploads)}) as (address, _):
        yield address
