"""Checkpoints in BGE-M3's layout: found, checked, fingerprinted, loaded.

A folder holds an encoder (`config.json`, weights), its tokenizer, the two heads M3 adds
(`sparse_linear.pt` and `colbert_linear.pt`, or `heads.safetensors`) and, in
`1_Pooling/config.json` as sentence-transformers writes it, the pooling of the dense vector.
What is missing is refused: FlagEmbedding would load random heads, or assume cls pooling.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast
from zipfile import is_zipfile

import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from tokenizers import Tokenizer
from torch import Tensor

from embedder.model.digests import file_digest
from embedder.model.tokens import SpecialTokens, TextTokenizer
from m3.errors import InvalidCheckpoint
from m3.types import ModelInfo

MARKER = "m3.json"
"""What a checkpoint of ours says of itself: its name, and whether it is the stand-in."""
Pooling = Literal["cls", "mean"]
ARCHITECTURES = ("bert", "xlm-roberta")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_ARCHITECTURE_FIELDS = (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "layer_norm_eps",
    "max_position_embeddings",
    "pad_token_id",
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """The encoder's shape, as `config.json` has it."""

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    layer_norm_eps: float
    max_position_embeddings: int
    pad_token_id: int

    @property
    def first_position(self) -> int:
        """XLM-RoBERTa counts positions from the one after padding's; BERT from 0."""
        return self.pad_token_id + 1 if self.model_type == "xlm-roberta" else 0


@dataclass(frozen=True, slots=True)
class Heads:
    """What M3 adds to an encoder of d dimensions, fp32.

    Attributes:
        sparse_weight: [1, d]; sparse_bias: [1].
        colbert_weight: [d, d]; colbert_bias: [d].
    """

    sparse_weight: Tensor
    sparse_bias: Tensor
    colbert_weight: Tensor
    colbert_bias: Tensor


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checked folder. Its weights are still on disk; `weights` reads them."""

    path: Path
    id: str
    fingerprint: str
    architecture: Architecture
    pooling: Pooling
    heads: Heads
    tokenizer: TextTokenizer
    max_tokens: int
    stand_in: bool

    def info(self, precision: str) -> ModelInfo:
        return ModelInfo(
            id=self.id,
            fingerprint=self.fingerprint,
            precision=precision,
            dimension=self.architecture.hidden_size,
            max_tokens=self.max_tokens,
            stand_in=self.stand_in,
        )

    def weights(self) -> dict[str, Tensor]:
        """The encoder's tensors by name, without the prefix some files put before them."""
        tensors = read_tensors(_weights_file(self.path))
        prefixes = ("bert.", "roberta.", "model.")
        return {
            next((name[len(p) :] for p in prefixes if name.startswith(p)), name): tensor
            for name, tensor in tensors.items()
        }


def open_checkpoint(path: Path, name: str | None = None, cache: Path | None = None) -> Checkpoint:
    """Check a folder and read all but the encoder's weights.

    Args:
        name: what the model is called; else what the folder says, or is called.
        cache: a folder to remember in what the weights hash to.

    Raises:
        InvalidCheckpoint: what is missing or does not fit, and in which file.
    """
    if not path.is_dir():
        raise InvalidCheckpoint(f"there is no checkpoint folder at {path}")
    architecture = _architecture(path)
    pooling = _pooling(path)
    heads = _heads(path, architecture.hidden_size)
    tokenizer = _tokenizer(path)
    marker = _read_json(path / MARKER) if (path / MARKER).exists() else {}
    return Checkpoint(
        path=path,
        id=name or str(marker.get("name") or path.resolve().name),
        fingerprint=_fingerprint(
            path, architecture, pooling, heads, tokenizer.special, cache=cache
        ),
        architecture=architecture,
        pooling=pooling,
        heads=heads,
        tokenizer=tokenizer,
        max_tokens=_max_tokens(path, architecture),
        stand_in=bool(marker.get("stand_in", False)),
    )


def _architecture(path: Path) -> Architecture:
    file = path / "config.json"
    config = _read_json(file)
    if config.get("model_type") not in ARCHITECTURES:
        raise InvalidCheckpoint(
            f"{file}: model_type is {config.get('model_type')!r}; this serves {ARCHITECTURES}"
        )
    for field, needed in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if config.get(field, needed) != needed:
            raise InvalidCheckpoint(f"{file}: {field} is {config[field]!r}; only {needed!r} works")
    missing = [field for field in _ARCHITECTURE_FIELDS if field not in config]
    if missing:
        raise InvalidCheckpoint(f"{file} lacks {', '.join(missing)}")
    return Architecture(**{field: config[field] for field in _ARCHITECTURE_FIELDS})


def _pooling(path: Path) -> Pooling:
    file = path / "1_Pooling" / "config.json"
    if not file.exists():
        raise InvalidCheckpoint(
            f"{file} is missing: it records whether the dense vector is the cls token's or the "
            "mean, and a wrong guess would silently cost quality"
        )
    config = _read_json(file)
    # Older files have one flag per mode, newer ones a word.
    modes = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    match config.get("pooling_mode", modes):
        case "cls" | ["pooling_mode_cls_token"]:
            return "cls"
        case "mean" | ["pooling_mode_mean_tokens"]:
            return "mean"
        case other:
            raise InvalidCheckpoint(f"{file}: the pooling is {other}; cls or mean is needed")


def _heads(path: Path, dimension: int) -> Heads:
    both = path / "heads.safetensors"
    if both.exists():
        tensors = read_tensors(both)
    else:
        tensors = {
            f"{head}.{name}": tensor
            for head in ("sparse_linear", "colbert_linear")
            for name, tensor in read_tensors(path / f"{head}.pt").items()
        }
    d = dimension
    shapes = {
        "sparse_linear.weight": (1, d),
        "sparse_linear.bias": (1,),
        "colbert_linear.weight": (d, d),
        "colbert_linear.bias": (d,),
    }
    for name, shape in shapes.items():
        tensor = tensors.get(name)
        if tensor is None or tuple(tensor.shape) != shape:
            found = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
            raise InvalidCheckpoint(f"{path}: the head {name} is {found}; it must be {shape}")
        if not torch.isfinite(tensor).all():
            raise InvalidCheckpoint(f"{path}: the head {name} holds values that are not finite")
    return Heads(*(tensors[name].float() for name in shapes))


def _tokenizer(path: Path) -> TextTokenizer:
    file = path / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_str(file.read_text("utf-8"))
    except OSError as error:
        raise InvalidCheckpoint(f"{file} cannot be read: {error.strerror}") from error
    except Exception as error:  # `tokenizers` raises no class of its own
        raise InvalidCheckpoint(f"{file} is not a tokenizer: {error}") from error
    special = _special_tokens(path, tokenizer)
    tokenizer.no_padding()
    if tokenizer.encode("").ids != [special.cls, special.eos]:
        raise InvalidCheckpoint(
            f"{file}: a text must stand between the cls and eos tokens that its config names"
        )
    return TextTokenizer(tokenizer, special)


def _special_tokens(path: Path, tokenizer: Tokenizer) -> SpecialTokens:
    named: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (path / name).exists():
            named |= _read_json(path / name)
    ids: dict[str, int] = {}
    for role in ("bos", "cls", "eos", "pad", "unk"):
        token = named.get(f"{role}_token")
        if isinstance(token, dict):
            token = cast("dict[str, Any]", token).get("content")
        index = tokenizer.token_to_id(token) if isinstance(token, str) else None
        if index is None:
            raise InvalidCheckpoint(
                f"{path / 'tokenizer_config.json'} names no {role}_token of its vocabulary"
            )
        ids[role] = index
    return SpecialTokens(ids["cls"], ids["eos"], ids["pad"], ids["unk"])


def _max_tokens(path: Path, architecture: Architecture) -> int:
    """What positions there are for, or less where the tokenizer says so."""
    positions = architecture.max_position_embeddings - architecture.first_position
    stated = _read_json(path / "tokenizer_config.json").get("model_max_length", positions)
    return min(positions, int(stated))


def _fingerprint(
    path: Path,
    architecture: Architecture,
    pooling: Pooling,
    heads: Heads,
    special: SpecialTokens,
    *,
    cache: Path | None,
) -> str:
    """32 hexadecimal digits over everything that decides the vectors; the same on any machine."""
    digest = hashlib.blake2b(digest_size=16)
    shape = {field: getattr(architecture, field) for field in _ARCHITECTURE_FIELDS}
    facts = [shape, pooling, special.as_tuple()]
    digest.update(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS))
    digest.update(file_digest(_weights_file(path), cache))
    digest.update(file_digest(path / "tokenizer.json"))
    for name in Heads.__slots__:
        digest.update(getattr(heads, name).numpy().tobytes())
    return digest.hexdigest()


def _weights_file(path: Path) -> Path:
    for name in _WEIGHTS:
        if (path / name).is_file():
            return path / name
    raise InvalidCheckpoint(f"{path} holds no weights: {' or '.join(_WEIGHTS)} is needed")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(file.read_bytes())
    except OSError as error:
        raise InvalidCheckpoint(f"{file} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise InvalidCheckpoint(f"{file} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidCheckpoint(f"{file} is not a JSON object")
    return cast("dict[str, Any]", value)


def read_tensors(file: Path) -> Mapping[str, Tensor]:
    """Tensors by name, from safetensors or from a pickle that may hold nothing but tensors.

    They are mapped, not read: processes that read one file share its pages, until they write.
    """
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        # Files of torch before 1.6 are no archives, and cannot be mapped.
        mapped = is_zipfile(file)
        value = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError as error:
        raise InvalidCheckpoint(f"{file} cannot be read: {error.strerror}") from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InvalidCheckpoint(f"{file} does not hold plain tensors: {_first(error)}") from error
    if not isinstance(value, dict):
        raise InvalidCheckpoint(f"{file} does not hold tensors by name")
    tensors = cast("dict[Any, Any]", value)
    if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise InvalidCheckpoint(f"{file} holds other things than tensors")
    return tensors


def _first(error: Exception) -> str:
    """The first line of a library's message; the rest is for its developers."""
    return (str(error).splitlines() or [type(error).__name__])[0]
