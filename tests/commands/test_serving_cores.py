"""Both servers score with no more cores than their control groups allow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from commands.embedder import serve as serve_node
from commands.search.serve import serve as serve_search
from scoring.native import cores
from scoring.native.cores import Cores
from serving import logs, machine, memory, server


@pytest.mark.parametrize("serve", [serve_node, serve_search])
def test_scoring_keeps_to_the_cores_of_the_container(
    serve: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    lent: list[int] = []

    def take(*_: Any, **__: Any) -> None:
        with cores.CORES.lent(2**34) as count:
            lent.append(count)

    monkeypatch.setenv("M3_HOME", str(tmp_path))
    monkeypatch.setattr(cores, "CORES", Cores(64))
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    monkeypatch.setattr(server, "serve", take)
    for settled, what in (
        (logs, "configure"),
        (memory, "keep_large_buffers"),
        (memory, "return_large_buffers"),
    ):
        monkeypatch.setattr(settled, what, Mock())
    serve()
    assert lent == [3]
