"""Where a model is loaded, on machines with several GPUs and with none that works."""

from __future__ import annotations

import pytest
import torch

from embedder.encoders import loading


@pytest.mark.parametrize(
    ("works", "counted", "places"), [(True, 2, [0, 1]), (False, 2, [None]), (False, 0, [None])]
)
def test_gpus_that_torch_cannot_use_are_none(
    monkeypatch: pytest.MonkeyPatch, works: bool, counted: int, places: list[int | None]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: works)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: counted)
    assert loading.devices() == places
