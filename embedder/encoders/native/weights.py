"""A checkpoint's weights in the order the kernels read them, in a file that nodes share.

The file is safetensors with its data on 64-byte borders, mapped read-only: however many nodes
of a machine serve a model, its weights are in memory once. Linear weights [out, in] lie in panels
of 64 outputs; `kernels/gemm.h` says how, and why.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from torch import Tensor

from embedder.encoders.native.binding import GROUP, Layer, Linear, Norm
from embedder.model.checkpoint import Checkpoint
from embedder.model.tensors import Tensors

Arithmetic = Literal["bf16", "int8"]
Arrays = Mapping[str, NDArray[Any]]

_PANEL = 64
_INT8_MAX = 127
_LEAST_STEP = 1e-30
"""What a step is raised to before dividing by it: a group of zeros has none."""
_ALIGNMENT = 64
_DTYPES = {"U16": np.uint16, "I8": np.int8, "I32": np.int32, "F32": np.float32}
_NAMES = {np.dtype(kind): name for name, kind in _DTYPES.items()}


def packed_weights(
    checkpoint: Checkpoint, arithmetic: Arithmetic, kernels: int, folder: Path
) -> Arrays:
    """The checkpoint's layers as the kernels read them, packed by whoever asks first.

    Args:
        kernels: version of the kernels; another is another file.
        folder: where the file is kept; made if missing. Where it cannot be written, the
            weights are packed in this process's own memory.

    Raises:
        InvalidCheckpoint: weights that do not fit the checkpoint's config.
    """
    name = f"{checkpoint.fingerprint}-{arithmetic}"
    file = folder / f"{name}-{kernels}.safetensors"
    if not file.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(folder / f"{name}.lock"):
                if not file.exists():
                    _write(file, _pack(checkpoint, arithmetic))
                    # Whoever has another version's mapped keeps it.
                    for other in set(folder.glob(f"{name}-*.safetensors")) - {file}:
                        other.unlink()
        except OSError:
            return _pack(checkpoint, arithmetic)
    return _map(file)


def layer_of(arrays: Arrays, number: int) -> Layer:
    """One layer's pointers into `arrays`, which must outlive it."""

    def at(name: str) -> int | None:
        array = arrays.get(f"{number}.{name}")
        return None if array is None else array.ctypes.data

    def linear(name: str) -> Linear:
        return Linear(*(at(f"{name}.{part}") for part in ("weights", "bias", "steps", "totals")))

    def norm(name: str) -> Norm:
        return Norm(at(f"{name}.weight"), at(f"{name}.bias"))

    return Layer(
        qkv=linear("qkv"),
        mixed=linear("mixed"),
        wide=linear("wide"),
        narrow=linear("narrow"),
        mixed_norm=norm("mixed_norm"),
        narrow_norm=norm("narrow_norm"),
    )


def _pack(checkpoint: Checkpoint, arithmetic: Arithmetic) -> dict[str, NDArray[Any]]:
    tensors = Tensors(checkpoint)
    size, wide = checkpoint.architecture.hidden_size, checkpoint.architecture.intermediate_size
    pack = _bf16 if arithmetic == "bf16" else _int8
    packed: dict[str, NDArray[Any]] = {}
    for number in range(checkpoint.architecture.num_hidden_layers):
        base = f"encoder.layer.{number}"
        parts = [
            tensors.pair(f"{base}.attention.self.{part}", size, size)
            for part in ("query", "key", "value")
        ]
        weights, biases = zip(*parts, strict=True)
        products = {
            "qkv": (torch.cat(weights), torch.cat(biases)),
            "mixed": tensors.pair(f"{base}.attention.output.dense", size, size),
            "wide": tensors.pair(f"{base}.intermediate.dense", size, wide),
            "narrow": tensors.pair(f"{base}.output.dense", wide, size),
        }
        for name, (weight, bias) in products.items():
            arrays = pack(weight.float(), bias.float())
            packed |= {f"{number}.{name}.{part}": array for part, array in arrays.items()}
        for name, norm in (
            ("mixed_norm", f"{base}.attention.output.LayerNorm"),
            ("narrow_norm", f"{base}.output.LayerNorm"),
        ):
            for part in ("weight", "bias"):
                packed[f"{number}.{name}.{part}"] = (
                    tensors.take(f"{norm}.{part}", size).float().numpy()
                )
    return packed


def _bf16(weight: Tensor, bias: Tensor) -> dict[str, NDArray[Any]]:
    bits = weight.to(torch.bfloat16).view(torch.uint16).numpy()
    return {"weights": _panels(bits, 2), "bias": bias.numpy()}


def _int8(weight: Tensor, bias: Tensor) -> dict[str, NDArray[Any]]:
    """Symmetric, one step for each GROUP of an output's weights."""
    groups = weight.view(len(weight), -1, GROUP)
    steps = groups.abs().amax(dim=2) / _INT8_MAX
    bytes_ = (groups / steps.clamp(min=_LEAST_STEP)[..., None]).round()
    totals = steps * bytes_.sum(dim=2)
    return {
        "weights": _panels(bytes_.to(torch.int8).view_as(weight).numpy(), 4),
        "bias": bias.numpy(),
        "steps": _by_panel(steps),
        "totals": _by_panel(totals),
    }


def _by_panel(values: Tensor) -> NDArray[Any]:
    """[out, groups] -> [out / 64, groups, 64]."""
    return values.view(-1, _PANEL, values.shape[1]).transpose(1, 2).contiguous().numpy()


def _panels(weight: NDArray[Any], together: int) -> NDArray[Any]:
    """[out, in] -> [out / 64, in / together, 64, together]."""
    out, into = weight.shape
    panels = weight.reshape(out // _PANEL, _PANEL, into // together, together)
    return np.ascontiguousarray(panels.transpose(0, 2, 1, 3))


@contextmanager
def _alone(lock: Path) -> Generator[None]:
    with lock.open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _write(file: Path, arrays: Arrays) -> None:
    """As a whole or not at all, under a name that is free until it is complete."""
    header: dict[str, Any] = {}
    end = 0
    for name, array in arrays.items():
        begin = -(-end // _ALIGNMENT) * _ALIGNMENT
        end = begin + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = orjson.dumps(header)
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            for name_, array in arrays.items():
                stream.seek(8 + len(text) + header[name_]["data_offsets"][0])
                stream.write(np.ascontiguousarray(array).data)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _map(file: Path) -> Arrays:
    with file.open("rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = orjson.loads(data[8 : 8 + length])
    return {
        name: np.frombuffer(
            data,
            _DTYPES[entry["dtype"]],
            count=math.prod(entry["shape"]),
            offset=8 + length + entry["data_offsets"][0],
        ).reshape(entry["shape"])
        for name, entry in header.items()
    }
