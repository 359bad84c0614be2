"""In which numbers a device computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from m3.errors import InvalidConfiguration
from m3.settings import Precision

AMPERE = (8, 0)
_HOPPER = (9, 0)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What a forward pass multiplies in.

    Matrix products add up in fp32, but for fp8's, whose sums a GPU keeps in fewer bits. So do
    layer norms, softmax and the sums of attention. The residual stream is kept in `dtype`;
    embeddings are summed and normalised in fp32.

    Attributes:
        precision: what `ModelInfo` says.
        dtype: of weights and activations; under fp8 of all but the products of linear layers.
    """

    precision: Precision
    dtype: torch.dtype

    @classmethod
    def choose(cls, precision: Precision, device: torch.device) -> Arithmetic:
        """What is asked for, or for `auto` the fastest that loses next to nothing.

        That is bf16 where the device multiplies it, fp16 on GPUs that do not, fp32 on CPUs.

        Raises:
            InvalidConfiguration: the device, or this encoder, does not compute in it.
        """
        chosen = _best(device) if precision == "auto" else precision
        match chosen:
            case "fp32":
                return cls(chosen, torch.float32)
            case "fp16":
                return cls(chosen, torch.float16)
            case "bf16":
                if device.type == "cuda" and _capability(device) < AMPERE:
                    raise InvalidConfiguration(
                        f"precision bf16: {_name(device)} does not compute in it; choose fp16"
                    )
                return cls(chosen, torch.bfloat16)
            case "fp8":
                if device.type != "cuda" or _capability(device) < _HOPPER or torch.version.hip:
                    raise InvalidConfiguration(
                        f"precision fp8 needs an NVIDIA GPU of the Hopper generation or newer, "
                        f"and this is {_name(device)}; choose auto"
                    )
                return cls(chosen, torch.bfloat16)
            case "int8":
                raise InvalidConfiguration(
                    "precision int8: this encoder computes in fp32, bf16, fp16 or, on newer "
                    "GPUs, fp8; choose one of these or auto"
                )


def add_up_in_fp32() -> None:
    """Have this process's products on GPUs round no partial sums: in fp16 they may overflow."""
    products = torch.backends.cuda.matmul
    products.allow_bf16_reduced_precision_reduction = False
    products.allow_fp16_reduced_precision_reduction = False


def cpu_computes_bf16() -> bool:
    """Whether this processor multiplies bf16 numbers itself, with AVX-512 BF16 or AMX."""
    # Private, and the only way torch has to ask.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # pyright: ignore[reportPrivateUsage]


def _best(device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    if device.type != "cuda":
        return "bf16" if cpu_computes_bf16() else "fp32"
    return "bf16" if _capability(device) >= AMPERE else "fp16"


def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
