"""Keys files for tests."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def line(secret: str, **members: Any) -> str:
    """A JSON line for a key that is called after itself, unless it says otherwise."""
    made = {"name": secret, "sha256": digest(secret), "scopes": ["read", "write", "admin"]}
    return json.dumps({**made, **members})


def keys_file(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{each}\n" for each in lines))
    return path


def bearing(secret: str, **headers: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}", **headers}
