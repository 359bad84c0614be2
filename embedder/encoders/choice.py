"""Which of our engines computes a model on this machine."""

from __future__ import annotations

from pathlib import Path

import structlog
import torch

from embedder.encoders.arithmetic import Arithmetic
from embedder.encoders.encoder import Encoder
from embedder.encoders.headed import HeadedEncoder
from embedder.encoders.native.binding import library
from embedder.encoders.native.linears import Int8Linears
from embedder.encoders.native.transformer import NativeTransformer, fits
from embedder.encoders.native.weights import Arithmetic as Packed
from embedder.encoders.packed import PackedEncoder
from embedder.encoders.transfer import Bus
from embedder.encoders.transformer import Transformer
from embedder.model.checkpoint import Checkpoint
from m3.settings import Precision

_log = structlog.stdlib.get_logger("m3.embedder")


def best_encoder(
    checkpoint: Checkpoint, precision: Precision, folder: Path, *, graphs: bool = False
) -> Encoder:
    """The fastest engine for a precision; for `auto`, in what the machine computes best.

    A GPU and fp32 are torch's; so is bf16 where a CPU has AMX, which oneDNN knows how to use.
    Other CPUs with AVX-512 BF16 have kernels of our own; in int8 those with AVX2 have too.

    Args:
        folder: where weights are kept in the form that our kernels read.
        graphs: on a GPU, replay short batches as CUDA graphs.

    Raises:
        InvalidConfiguration: a precision that this machine does not compute in.
        InvalidCheckpoint: weights that do not fit the checkpoint's config.
    """
    if torch.cuda.is_available():
        _log.info("computing on the GPU", gpu=torch.cuda.get_device_name())
        return PackedEncoder(checkpoint, precision, graphs=graphs)
    _log.info("no GPU found: computing on the CPU", threads=torch.get_num_threads())
    if precision == "int8":
        return _int8(checkpoint, folder)
    if precision in ("auto", "bf16"):
        if torch.cpu._is_amx_tile_supported():  # pyright: ignore[reportPrivateUsage]
            return PackedEncoder(checkpoint, "bf16")
        if library() is not None and fits(checkpoint.architecture):
            return _native(checkpoint, "bf16", folder)
    return PackedEncoder(checkpoint, precision)


def _int8(checkpoint: Checkpoint, folder: Path) -> Encoder:
    """Whole layers where the processor has AVX-512 VNNI, else the linear layers alone."""
    if library() is not None and fits(checkpoint.architecture):
        return _native(checkpoint, "int8", folder)
    bus = Bus(torch.device("cpu"))
    linears = Int8Linears(checkpoint, threads=torch.get_num_threads(), folder=folder)
    states = Transformer(checkpoint, Arithmetic.choose("fp32", bus.device), bus, linears=linears)
    return HeadedEncoder(checkpoint, states, bus, precision="int8")


def _native(checkpoint: Checkpoint, arithmetic: Packed, folder: Path) -> Encoder:
    states = NativeTransformer(
        checkpoint, arithmetic, threads=torch.get_num_threads(), folder=folder
    )
    return HeadedEncoder(
        checkpoint, states, Bus(torch.device("cpu")), precision=arithmetic, dtype=torch.float32
    )
