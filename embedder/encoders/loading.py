"""From settings to a loaded encoder: the engine that this machine runs fastest."""

from __future__ import annotations

import os
from typing import Literal

from embedder.encoders.encoder import Encoder
from m3.settings import Settings
from serving.machine import usable_cores

EncoderName = Literal["packed", "reference"]


def devices() -> list[int | None]:
    """Where models can be loaded: the numbers of the GPUs, or None alone, the CPU."""
    _settle_libraries()
    import torch  # noqa: PLC0415 - torch takes seconds

    # The count alone is NVML's, which has GPUs whose driver is too old for this torch.
    return list(range(torch.cuda.device_count())) if torch.cuda.is_available() else [None]


def load_encoder(
    settings: Settings, name: EncoderName = "packed", device: int | None = None
) -> Encoder:
    """Find, check and load the model that the settings name.

    Args:
        device: one of `devices`; None leaves it to the encoder.

    Raises:
        InvalidCheckpoint, InvalidConfiguration: what is wrong with it.
        Unreachable: it would have to be downloaded, and cannot be.
    """
    _settle_libraries()
    import torch  # noqa: PLC0415 - torch takes seconds

    from embedder.model.checkpoint import open_checkpoint  # noqa: PLC0415
    from embedder.model.hub import find  # noqa: PLC0415

    if device is not None:
        torch.cuda.set_device(device)
    # torch counts the machine's cores, of which a container may have fewer.
    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
    path, model = find(settings.model)
    cache = settings.home / "cache"
    checkpoint = open_checkpoint(path, model, cache)
    if name == "reference":
        from embedder.encoders.reference import ReferenceEncoder  # noqa: PLC0415

        return ReferenceEncoder(checkpoint, settings.precision)
    from embedder.encoders.choice import best_encoder  # noqa: PLC0415

    return best_encoder(
        checkpoint, settings.precision, cache / "packed", graphs=settings.cuda_graphs
    )


def _settle_libraries() -> None:
    """What libraries read from the environment as they are imported."""
    # Else transformers imports TensorFlow wherever it is installed.
    os.environ.setdefault("TRANSFORMERS_NO_TF", "1")
    # Threads that wait for each other by spinning take the core from the one they wait for,
    # wherever a node is not alone on its machine: there it costs most of the throughput.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
