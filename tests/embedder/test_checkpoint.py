"""What a checkpoint must hold, and what is said of one that does not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from embedder.encoders.encoder import encode
from embedder.encoders.packed import PackedEncoder
from embedder.model.checkpoint import open_checkpoint
from embedder.model.hub import find
from m3.errors import InvalidCheckpoint, Unreachable
from tests.embedder.checkpoints import write_xlm_roberta


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return write_xlm_roberta(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A sound checkpoint to break."""
    return shutil.copytree(sound, tmp_path / "checkpoint")


def change(file: Path, **values: Any) -> None:
    """Set members of a JSON file; None takes one out."""
    config = {**json.loads(file.read_text()), **values}
    file.write_text(json.dumps({name: v for name, v in config.items() if v is not None}))


def infinite_head(folder: Path) -> None:
    state = torch.load(folder / "sparse_linear.pt")
    state["weight"][0, 3] = float("inf")
    torch.save(state, folder / "sparse_linear.pt")


def wide_head(folder: Path) -> None:
    torch.save(torch.nn.Linear(32, 16).state_dict(), folder / "colbert_linear.pt")


class RunsCode:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder / "ran"),)


def pickled_head(folder: Path) -> None:
    state = torch.nn.Linear(32, 1).state_dict()
    torch.save({**state, "extra": RunsCode(folder)}, folder / "sparse_linear.pt")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json cannot be read"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "not a JSON object"),
    "another family": (lambda f: change(f / "config.json", model_type="gpt2"), "'gpt2'"),
    "another activation": (lambda f: change(f / "config.json", hidden_act="relu"), "hidden_act"),
    "no depth": (lambda f: change(f / "config.json", num_hidden_layers=None), "num_hidden_layers"),
    "no pooling": (lambda f: shutil.rmtree(f / "1_Pooling"), "records whether the dense vector"),
    "max pooling": (
        lambda f: (f / "1_Pooling/config.json").write_text('{"pooling_mode": "max"}'),
        "cls or mean is needed",
    ),
    "two poolings": (
        lambda f: change(f / "1_Pooling/config.json", pooling_mode_mean_tokens=True),
        "cls or mean is needed",
    ),
    "no sparse head": (lambda f: (f / "sparse_linear.pt").unlink(), "sparse_linear.pt"),
    "no ColBERT head": (lambda f: (f / "colbert_linear.pt").unlink(), "colbert_linear.pt"),
    "a head of another shape": (wide_head, r"colbert_linear.weight is of shape \(16, 32\)"),
    "a head that is not finite": (infinite_head, "not finite"),
    "a head that runs code": (pickled_head, "does not hold plain tensors"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json cannot be read"),
    "a broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "not a tokenizer"),
    "no eos token": (lambda f: change(f / "tokenizer_config.json", eos_token=None), "eos_token"),
    "no bos token": (lambda f: change(f / "tokenizer_config.json", bos_token=None), "bos_token"),
    "an eos that closes no text": (
        lambda f: change(f / "tokenizer_config.json", eos_token="<mask>"),
        "between the cls and eos",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused_with_what_is_wrong(folder, case):
    damage, message = BROKEN[case]
    damage(folder)
    with pytest.raises(InvalidCheckpoint, match=message) as refused:
        open_checkpoint(folder)
    assert "\n" not in str(refused.value)
    assert not (folder / "ran").exists()


def test_weights_that_do_not_fit_the_config_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    short = {name: value for name, value in weights.items() if ".1.output.dense" not in name}
    save_file(short, folder / "model.safetensors")
    with pytest.raises(InvalidCheckpoint, match=r"lack encoder\.layer\.1\.output\.dense\.weight"):
        PackedEncoder(open_checkpoint(folder))
    save_file(weights, folder / "model.safetensors")
    change(folder / "config.json", intermediate_size=48)
    with pytest.raises(InvalidCheckpoint, match="does not fit config"):
        PackedEncoder(open_checkpoint(folder))


def test_a_vocabulary_larger_than_the_model_is_refused(folder):
    weights = load_file(folder / "model.safetensors")
    words = weights["embeddings.word_embeddings.weight"]
    weights["embeddings.word_embeddings.weight"] = words[:-1].clone()
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(InvalidCheckpoint, match="100 tokens, the model 99"):
        PackedEncoder(open_checkpoint(folder))


def test_heads_and_weights_may_come_in_either_format(folder):
    before = open_checkpoint(folder)
    heads = {
        f"{head}.{name}": value
        for head in ("sparse_linear", "colbert_linear")
        for name, value in torch.load(folder / f"{head}.pt").items()
    }
    save_file(heads, folder / "heads.safetensors")
    for head in ("sparse_linear", "colbert_linear"):
        (folder / f"{head}.pt").unlink()
    assert open_checkpoint(folder).fingerprint == before.fingerprint

    prefixed = {f"roberta.{n}": v for n, v in load_file(folder / "model.safetensors").items()}
    torch.save(prefixed, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    after = encode(PackedEncoder(open_checkpoint(folder)), [[0, 9, 2]], {"dense"})
    expected = encode(PackedEncoder(before_copy(folder, prefixed)), [[0, 9, 2]], {"dense"})
    assert after.dense.tolist() == expected.dense.tolist()


def before_copy(folder: Path, prefixed: dict[str, torch.Tensor]):
    plain = {name.removeprefix("roberta."): value for name, value in prefixed.items()}
    (folder / "pytorch_model.bin").unlink()
    save_file(plain, folder / "model.safetensors")
    return open_checkpoint(folder)


def test_the_fingerprint_is_of_what_decides_the_vectors(folder, tmp_path):
    first = open_checkpoint(folder)
    assert len(first.fingerprint) == 32
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert open_checkpoint(moved).fingerprint == first.fingerprint

    changes: list[Callable[[Path], object]] = [
        lambda f: (f / "1_Pooling/config.json").write_text('{"pooling_mode": "mean"}'),
        lambda f: change(f / "config.json", layer_norm_eps=1e-3),
        lambda f: torch.save(torch.nn.Linear(32, 1).state_dict(), f / "sparse_linear.pt"),
        lambda f: torch.save(torch.nn.Linear(32, 32).state_dict(), f / "colbert_linear.pt"),
        lambda f: (f / "tokenizer.json").write_text((f / "tokenizer.json").read_text() + "\n"),
        lambda f: flip_a_bit(f / "model.safetensors"),
    ]
    seen = {first.fingerprint}
    for number, damage in enumerate(changes):
        other = shutil.copytree(folder, tmp_path / f"changed-{number}")
        damage(other)
        seen.add(open_checkpoint(other).fingerprint)
    assert len(seen) == 1 + len(changes)


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_info_says_what_a_node_tells(folder):
    checkpoint = open_checkpoint(folder)
    info = checkpoint.info("fp32")
    assert (info.id, info.dimension, info.max_tokens, info.stand_in) == (
        "checkpoint",
        32,
        64,
        False,
    )
    assert open_checkpoint(folder, "BAAI/bge-m3").id == "BAAI/bge-m3"


@pytest.mark.parametrize("model", ["./nowhere", "/no/where", "~/nowhere", "nowhere", "a/b/c"])
def test_what_is_no_folder_and_no_id_is_refused(model):
    with pytest.raises(InvalidCheckpoint, match="no checkpoint folder"):
        find(model)


def test_a_file_is_no_checkpoint(tmp_path):
    file = tmp_path / "model.bin"
    file.touch()
    with pytest.raises(InvalidCheckpoint, match="is a file"):
        find(str(file))


def test_a_model_that_would_need_the_hub_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Unreachable, match="M3_MODEL"):
        find("BAAI/bge-m3")
    with pytest.raises(InvalidCheckpoint, match="neither a folder"):
        find("no such/id!")
