"""How much memory a worker's device has, and how much of it is in use."""

from __future__ import annotations

import os
from pathlib import Path

from serving.machine import total_memory


def used_and_total(device: int | None) -> tuple[int, int]:
    """Bytes of a GPU, or on the CPU of this process and of what it may have.

    Zeros where the system does not tell.
    """
    if device is not None:
        import torch  # noqa: PLC0415 - a worker with a GPU has it loaded

        free, total = torch.cuda.mem_get_info(device)
        return total - free, total
    try:
        resident = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return resident * os.sysconf("SC_PAGE_SIZE"), total_memory()
    except (OSError, ValueError):
        return 0, 0
