"""What a worker's device says of itself: its memory, and whether it still computes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from serving.machine import total_memory

_TOTAL_SECONDS = 5.0
"""For which a CPU's total counts: reading control groups takes 0.1 ms, and limits hardly change."""


class DeviceMemory:
    """Of a GPU; or on the CPU of this process, of what it may have."""

    def __init__(self, device: int | None) -> None:
        self._device = device
        self._total, self._until = 0, 0.0

    def used_and_total(self) -> tuple[int, int]:
        """Bytes; zeros where the system does not tell."""
        if self._device is not None:
            import torch  # noqa: PLC0415 - a worker with a GPU has it loaded

            free, total = torch.cuda.mem_get_info(self._device)
            return total - free, total
        try:
            resident = int(Path("/proc/self/statm").read_text("ascii").split()[1])
            return resident * os.sysconf("SC_PAGE_SIZE"), self._of_cpu()
        except (OSError, ValueError):
            return 0, 0

    def _of_cpu(self) -> int:
        now = time.monotonic()
        if now >= self._until:
            self._total, self._until = total_memory(), now + _TOTAL_SECONDS
        return self._total


def check_device(device: int | None) -> None:
    """Raises where nothing more can be computed on a device.

    Some errors of a GPU, such as an illegal access, stay with the process that met with them.
    """
    if device is not None:
        import torch  # noqa: PLC0415 - a worker with a GPU has it loaded

        torch.cuda.synchronize(device)
