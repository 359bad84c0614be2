"""From the name of a model to its folder on this machine."""

from __future__ import annotations

from pathlib import Path

from m3.errors import InvalidCheckpoint, Unreachable

_FILES = (
    "config.json",
    "m3.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "1_Pooling/config.json",
    "sparse_linear.pt",
    "colbert_linear.pt",
    "heads.safetensors",
    "model.safetensors",
    "pytorch_model.bin",
)
"""All that a checkpoint is read from; a hub repository may hold gigabytes beside."""


def find(model: str) -> tuple[Path, str | None]:
    """The folder of a model, and its name where that is not the folder's to say.

    A folder is taken as it is; anything else is an id of the Hugging Face hub, whose cache
    and whose settings (`HF_HOME`, `HF_HUB_OFFLINE`, `HF_TOKEN`) hold.

    Raises:
        InvalidCheckpoint: no such folder, or no such model on the hub.
        Unreachable: the hub does not answer, and its cache lacks the model.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder, None
    if folder.exists():
        raise InvalidCheckpoint(f"{model} is a file; a checkpoint is a folder")
    if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise InvalidCheckpoint(
            f"there is no checkpoint folder at {model}: "
            "`m3-embedder stand-in DIR` builds a small one, `BAAI/bge-m3` names the real one"
        )
    return _download(model), model


def _download(model: str) -> Path:
    from huggingface_hub import (  # noqa: PLC0415 - a second, for hub ids alone
        snapshot_download,  # pyright: ignore[reportUnknownVariableType]
    )
    from huggingface_hub.errors import (  # noqa: PLC0415
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(model, allow_patterns=list(_FILES)))
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise InvalidCheckpoint(
            f"{model} is neither a folder here nor a model on the Hugging Face hub"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise Unreachable(
            f"{model} is not on this machine and the Hugging Face hub cannot be reached: set "
            "M3_MODEL to a checkpoint folder (`m3-embedder stand-in DIR` builds a small one)"
        ) from error
