"""How much memory a process on this machine may still take."""

from __future__ import annotations

import os
from pathlib import Path


def available_memory(root: Path = Path("/")) -> int:
    """Bytes: what the system has left, or less where control groups leave less.

    Caches that the system gives back when asked count as available.

    Args:
        root: where `proc` and `sys` are.
    """
    return min([_system(root), *_groups(root)])


def _system(root: Path) -> int:
    try:
        return 1024 * _fields(root / "proc/meminfo")["MemAvailable"]
    except (OSError, KeyError):
        # No Linux. All of a machine's memory is too much; half is a guess.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _groups(root: Path) -> list[int]:
    """What each control group leaves that this process is in, version 1 or 2."""
    left: list[int] = []
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return left
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, limit, used = "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base, limit, used = (
                "sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            )
        else:
            continue
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            left += _left(root / base / folder, limit, used)
    return left


def _left(folder: Path, limit: str, used: str) -> list[int]:
    """Nothing where there is no such group, or where it has no limit."""
    try:
        most, taken = ((folder / name).read_text("ascii").strip() for name in (limit, used))
        if most == "max":
            return []
        reclaimable = _fields(folder / "memory.stat").get("inactive_file", 0)
        return [max(0, int(most) - int(taken) + reclaimable)]
    except OSError:
        return []


def _fields(file: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    rows = (line.replace(":", "").split() for line in file.read_text("ascii").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) >= 2}
