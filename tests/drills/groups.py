"""A control group for a running process, as a container is one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def memory_limited(pid: int, limit: int) -> Iterator[None]:
    """The process may have so many bytes from here on; skips where groups cannot be made."""
    version_1 = (_ROOT / "memory").is_dir()
    group = _ROOT / ("memory" if version_1 else "") / f"drill-{os.getpid()}"
    before = _group_of(pid, version_1=version_1)
    try:
        group.mkdir()
        name = "memory.limit_in_bytes" if version_1 else "memory.max"
        (group / name).write_text(str(limit))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"control groups cannot be made here: {error}")
    try:
        yield
    finally:
        with suppress(OSError):
            (before / "cgroup.procs").write_text(str(pid))
        _remove(group)


def _group_of(pid: int, *, version_1: bool) -> Path:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == ("memory" if version_1 else ""):
            return _ROOT / ("memory" if version_1 else "") / path.lstrip("/")
    return _ROOT


def _remove(group: Path) -> None:
    """It empties a moment after its last process has left or ended."""
    for _ in range(50):
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.1)
