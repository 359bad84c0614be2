"""A file system of its own for a test, as small as wanted."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own with that much room; skips where mounting is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root may mount")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=False
    )
    if made.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def disk_in_a_file(folder: Path, size: str) -> Iterator[Path]:
    """A file system on a device of its own, as monitoring sees them; else as `small_disk`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder.with_suffix(".img")
    if not shutil.which("mkfs.ext4") or os.geteuid() != 0:
        pytest.skip("only root may mount, and mkfs.ext4 is needed")
    subprocess.run(["truncate", "-s", size, file], check=True)
    subprocess.run(["mkfs.ext4", "-q", file], check=True)
    if subprocess.run(["mount", "-o", "loop", file, folder], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def more_room(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=1g", folder], check=True)
