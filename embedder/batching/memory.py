"""How much memory a worker's device has, and how much of it is in use."""

from __future__ import annotations

import os
from pathlib import Path


def used_and_total(device: int | None) -> tuple[int, int]:
    """Bytes of a GPU, or on the CPU of this process; zeros where the system does not tell."""
    if device is not None:
        import torch  # noqa: PLC0415 - a worker with a GPU has it loaded

        free, total = torch.cuda.mem_get_info(device)
        return total - free, total
    try:
        resident = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        page = os.sysconf("SC_PAGE_SIZE")
        return resident * page, os.sysconf("SC_PHYS_PAGES") * page
    except (OSError, ValueError):
        return 0, 0
