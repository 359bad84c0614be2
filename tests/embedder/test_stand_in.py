"""The stand-in checkpoint: whole or not at all, the same every time, ours to replace only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from embedder import stand_in as module
from embedder.model.checkpoint import MARKER, open_checkpoint
from embedder.stand_in import build
from m3.errors import InvalidConfiguration


def test_it_is_a_checkpoint_that_says_what_it_is(stand_in):
    checkpoint = open_checkpoint(stand_in)
    assert checkpoint.stand_in
    assert checkpoint.pooling == "mean"
    assert (checkpoint.architecture.hidden_size, checkpoint.max_tokens) == (384, 512)
    assert checkpoint.tokenizer.pieces([checkpoint.tokenizer.special.eos]) == ["[SEP]"]
    card = (stand_in / "README.md").read_text("utf-8")
    assert "English only" in card
    assert "Apache-2.0" in card


def test_its_tokenizer_neither_cuts_nor_pads(stand_in):
    tokenizer = json.loads((stand_in / "tokenizer.json").read_text("utf-8"))
    assert tokenizer["truncation"] is None
    assert tokenizer["padding"] is None


def test_building_again_changes_nothing(stand_in):
    before = {file: file.stat().st_mtime_ns for file in stand_in.rglob("*")}
    assert build(stand_in) == stand_in
    assert {file: file.stat().st_mtime_ns for file in stand_in.rglob("*")} == before


def test_every_build_has_the_same_fingerprint(stand_in, tmp_path):
    again = build(tmp_path / "deep" / "checkpoint")
    assert open_checkpoint(again).fingerprint == open_checkpoint(stand_in).fingerprint


def test_an_older_stand_in_is_replaced(tmp_path):
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / MARKER).write_text('{"name": "m3-stand-in-minilm", "ingredients": "older"}')
    build(folder)
    assert open_checkpoint(folder).stand_in
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InvalidConfiguration, match="holds something else"):
        build(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(InvalidConfiguration, match=r"cannot be written"):
        build(tmp_path / "notes.txt" / "below")


def test_a_build_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_tokenizer", fail)
    with pytest.raises(module.StorageFull):
        build(tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_encoder_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(InvalidConfiguration, match=r"pip install 'm3-retrieval\[stand-in\]'"):
        build(tmp_path / "checkpoint")


def test_a_build_that_comes_second_is_content(tmp_path, monkeypatch):
    def too_late(made: Path, directory: Path, _: Path) -> None:
        shutil.copytree(made, directory)
        made.replace(directory)

    monkeypatch.setattr(module, "_move", too_late)
    folder = build(tmp_path / "checkpoint")
    assert open_checkpoint(folder).stand_in
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


def test_the_shipped_heads_stand_beside_their_card_and_recipe():
    here = Path(module.__file__).parent
    assert {"heads.safetensors", "MODEL_CARD.md", "train.py"} <= {f.name for f in here.iterdir()}
