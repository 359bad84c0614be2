"""How much memory a process on this machine may take, and may still take; how many cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


def available_memory(root: Path = Path("/")) -> int:
    """Bytes: what the system has left, or less where control groups leave less.

    Caches that the system gives back when asked count as available.

    Args:
        root: where `proc` and `sys` are.
    """
    left = [_system(root)]
    for group in _groups(root):
        with suppress(OSError):
            left.append(group.left())
    return min(left)


def total_memory(root: Path = Path("/")) -> int:
    """Bytes that this process could have: the system's, or what its control groups allow."""
    system = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([system, *(group.limit for group in _groups(root))])


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may keep busy: those it may run on, or the time of its groups.

    Threads beyond that time are stopped together until the next period, and all wait.
    """
    allowed = [int(quota) for quota in _quotas(root)]
    if hasattr(os, "sched_getaffinity"):
        allowed.append(len(os.sched_getaffinity(0)))
    return max(1, min([os.cpu_count() or 1, *allowed]))


def _system(root: Path) -> int:
    try:
        return 1024 * _fields(root / "proc/meminfo")["MemAvailable"]
    except (OSError, KeyError):
        # No Linux. All of a machine's memory is too much; half is a guess.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


@dataclass(frozen=True, slots=True)
class _Group:
    """A control group that allows so many bytes; `used`: the file that says how many are taken."""

    folder: Path
    limit: int
    used: str

    def left(self) -> int:
        taken = int((self.folder / self.used).read_text("ascii"))
        reclaimable = _fields(self.folder / "memory.stat").get("inactive_file", 0)
        return max(0, self.limit - taken + reclaimable)


_MEMORY = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    2: ("memory.max", "memory.current"),
}
"""By version of control groups, the files of a limit and of what is taken."""


def _groups(root: Path) -> Iterator[_Group]:
    """Those with a limit that this process is in."""
    for version, folder in _folders(root, "memory"):
        limit, used = _MEMORY[version]
        with suppress(OSError):
            allowed = (folder / limit).read_text("ascii").strip()
            if allowed != "max":
                yield _Group(folder, int(allowed), used)


def _quotas(root: Path) -> Iterator[float]:
    """Seconds of computing that each group allows a second."""
    for version, folder in _folders(root, "cpu"):
        files = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        with suppress(OSError):
            words = " ".join((folder / file).read_text("ascii") for file in files)
            quota, period = words.split()
            if quota not in {"max", "-1"}:
                yield int(quota) / int(period)


def _folders(root: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """Version and folder of each control group that this process is in, outer ones last."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            version, base = 2, root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            version, base = 1, root / "sys/fs/cgroup" / controller
        else:
            continue
        group = Path(path.lstrip("/"))
        for each in (group, *group.parents):
            yield version, base / each


def _fields(file: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    rows = (line.replace(":", "").split() for line in file.read_text("ascii").splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) >= 2}
