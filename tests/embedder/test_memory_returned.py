"""A server's large buffers go back to the system, or stay, as it wants."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SMALL_PAGES = """
import ctypes
# Linux may give 2 MiB at a time, for one byte or many: what was asked for would not be seen.
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE
"""

SCRIPT = """
import sys, threading
from pathlib import Path
from serving.memory import return_large_buffers

def anonymous():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in l)
    return int(line.split()[1]) // 1024

def fill():
    # Each has an arena of its own, if it may: none has ended when another begins.
    together.wait()
    # As answers do: megabytes by the dozen, a few small things that outlive them between.
    for size in range(1, 13):
        buffer = bytearray(size << 20)
        kept.append(bytes(2000))
        del buffer

if sys.argv[1] == "yes":
    return_large_buffers()
kept = []
together = threading.Barrier(8)
before = anonymous()
for _ in range(3):
    threads = [threading.Thread(target=fill) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print(anonymous() - before)
"""


def figures(script: str) -> dict[str, int]:
    """What a script prints that sets glibc up, and what one prints that does not."""
    return {
        answer: int(
            subprocess.run(
                [sys.executable, "-c", SMALL_PAGES + script, answer],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for answer in ("yes", "no")
    }


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_what_threads_freed_is_not_kept():
    kept = figures(SCRIPT)
    assert kept["yes"] < 5
    # Else the test would show nothing.
    assert kept["no"] > kept["yes"]


FAULTS = """
import resource, sys
from serving.memory import keep_large_buffers

if sys.argv[1] == "yes":
    keep_large_buffers()

def read():
    # As searches do that go side by side: all are freed when they end.
    return [bytearray(30 << 20) for _ in range(3)]

for _ in range(3): read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): read()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_what_is_read_again_and_again_is_not_got_from_the_system_each_time():
    faults = figures(FAULTS)
    assert faults["yes"] < 1_000
    assert faults["no"] > 10_000
