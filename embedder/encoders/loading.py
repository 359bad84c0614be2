"""From settings to a loaded encoder: the engine that this machine runs fastest."""

from __future__ import annotations

import os
from typing import Literal

from embedder.encoders.encoder import Encoder
from m3.settings import Settings

EncoderName = Literal["packed", "reference"]


def load_encoder(settings: Settings, name: EncoderName = "packed") -> Encoder:
    """Find, check and load the model that the settings name.

    Raises:
        InvalidCheckpoint, InvalidConfiguration: what is wrong with it.
        Unreachable: it would have to be downloaded, and cannot be.
    """
    # Else transformers imports TensorFlow wherever it is installed.
    os.environ.setdefault("TRANSFORMERS_NO_TF", "1")
    # Threads that wait for each other by spinning take the core from the one they wait for,
    # wherever a node is not alone on its machine: there it costs most of the throughput.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from embedder.model.checkpoint import open_checkpoint  # noqa: PLC0415 - torch takes seconds
    from embedder.model.hub import find  # noqa: PLC0415

    path, model = find(settings.model)
    checkpoint = open_checkpoint(path, model)
    if name == "reference":
        from embedder.encoders.reference import ReferenceEncoder  # noqa: PLC0415

        return ReferenceEncoder(checkpoint, settings.precision)
    from embedder.encoders.packed import PackedEncoder  # noqa: PLC0415

    return PackedEncoder(checkpoint, settings.precision)
