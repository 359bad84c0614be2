"""Where a model is loaded, on machines with several GPUs and with none that works."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from embedder.encoders import loading
from embedder.encoders.reference import ReferenceEncoder
from embedder.model.checkpoint import open_checkpoint


@pytest.mark.parametrize(
    ("works", "counted", "places"), [(True, 2, [0, 1]), (False, 2, [None]), (False, 0, [None])]
)
def test_gpus_that_torch_cannot_use_are_none(
    monkeypatch: pytest.MonkeyPatch, works: bool, counted: int, places: list[int | None]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: works)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: counted)
    assert loading.devices() == places


@pytest.mark.parametrize(("gpu", "device"), [(1, "cuda:1"), (None, "cpu")])
def test_the_reference_keeps_to_its_own_device(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, gpu: int | None, device: str
) -> None:
    """Left to itself, FlagEmbedding starts a process for every GPU."""
    asked: list[str] = []

    def model(*_: object, devices: str, **__: object) -> SimpleNamespace:
        asked.append(devices)
        return SimpleNamespace(tokenizer=None)

    monkeypatch.setattr("FlagEmbedding.BGEM3FlagModel", model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: gpu)
    ReferenceEncoder(open_checkpoint(stand_in))
    assert asked == [device]
