"""Raw scores on disk: kept with all that they depend on, and used for nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from evaluation.scores.raw import RawScores
from m3.types import ModelInfo
from store.contract import Collection

_FORMAT = 1
_open: Any = cast("Any", safe_open)
_save: Any = cast("Any", save_file)
"""They are not typed."""
_COLUMNS = ("offsets", "scores", "ranks", "chunks", "owners")
_NAMES = ("queries", "ids", "documents")


def folder(home: Path) -> Path:
    """Where a state directory keeps scores."""
    return home / "cache" / "scores"


@dataclass(frozen=True, slots=True)
class Origin:
    """What raw scores were computed from; equal origins give equal scores.

    Attributes:
        table, version: the snapshot that was searched; no other table has the name.
        precision: of the node that embedded the queries; the passages' own is the table's.
        queries: digest of their ids and texts, in order.
    """

    collection: str
    table: str
    version: int
    fingerprint: str
    precision: str
    codec: str
    queries: str
    depth: int

    @classmethod
    def of(
        cls, collection: Collection, model: ModelInfo, queries: Mapping[str, str], depth: int
    ) -> Origin:
        """What scores would be computed from now."""
        spec, snapshot = collection.spec, collection.snapshot()
        return cls(
            collection=collection.name,
            table=snapshot.table,
            version=snapshot.version,
            fingerprint=spec.fingerprint,
            precision=model.precision,
            codec=spec.codec.value,
            queries=_digest(orjson.dumps(list(queries.items()))),
            depth=depth,
        )

    def path(self, folder: Path) -> Path:
        """Where its scores are kept."""
        return folder / self.collection / f"{_digest(self.text().encode())}.safetensors"

    def text(self) -> str:
        return orjson.dumps({"format": _FORMAT, **asdict(self)}).decode()


def load(path: Path, origin: Origin | None = None) -> RawScores | None:
    """What was kept there; None where there is nothing, or of another origin, or damaged."""
    try:
        facts, columns = _read(path)
    except (OSError, SafetensorError):
        return None
    expected = facts.get("origin") if origin is None else origin.text()
    if facts.get("origin") != expected or facts.get("digest") != _digest_of(columns):
        return None
    names: dict[str, Any] = {
        name: tuple(orjson.loads(columns.pop(name).tobytes())) for name in _NAMES
    }
    return RawScores(**columns, **names, depth=orjson.loads(facts["origin"])["depth"])


def save(raw: RawScores, origin: Origin, folder: Path) -> Path:
    """Keep them, in place of those of the collection's other snapshots."""
    path = origin.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {name: np.ascontiguousarray(getattr(raw, name)) for name in _COLUMNS}
    for name in _NAMES:
        columns[name] = np.frombuffer(orjson.dumps(getattr(raw, name)), np.uint8)
    facts = {"origin": origin.text(), "digest": _digest_of(columns)}
    part = path.with_suffix(f".{os.getpid()}.part")
    _save(columns, part, facts)
    part.replace(path)
    for other in path.parent.glob("*.safetensors"):
        if other != path and _snapshot(other) != (origin.table, origin.version):
            with contextlib.suppress(FileNotFoundError):
                other.unlink()
    return path


def _read(path: Path) -> tuple[Mapping[str, str], dict[str, Any]]:
    with _open(path, framework="numpy") as file:
        return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping


def _snapshot(path: Path) -> tuple[str, int] | None:
    try:
        with _open(path, framework="numpy") as file:
            facts: dict[str, Any] = orjson.loads(file.metadata()["origin"])
            return facts["table"], facts["version"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _digest_of(columns: Mapping[str, Any]) -> str:
    return _digest(*(part for name in sorted(columns) for part in (name.encode(), columns[name])))


def _digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
