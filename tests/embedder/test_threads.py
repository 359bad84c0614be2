"""With how many threads a model computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from embedder.encoders import loading
from m3.settings import Settings


def test_a_model_computes_with_no_more_threads_than_this_process_may_use_cores(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(loading, "usable_cores", lambda: 2)
    torch.set_num_threads(4)
    try:
        loading.load_encoder(Settings(home=tmp_path, model=str(stand_in)))
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        loading.load_encoder(Settings(home=tmp_path, model=str(stand_in)))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
