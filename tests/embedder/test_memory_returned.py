"""A server's large buffers go back to the system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys, threading
from pathlib import Path
from embedder.api.memory import return_large_buffers

def anonymous():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in l)
    return int(line.split()[1]) // 1024

def fill():
    # As answers do: megabytes by the dozen, a few small things that outlive them between.
    for size in range(1, 13):
        buffer = bytearray(size << 20)
        kept.append(bytes(2000))
        del buffer

if sys.argv[1] == "yes":
    return_large_buffers()
kept = []
before = anonymous()
for _ in range(3):
    threads = [threading.Thread(target=fill) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print(anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_what_threads_freed_is_not_kept():
    kept = {
        answer: int(
            subprocess.run(
                [sys.executable, "-c", SCRIPT, answer], check=True, capture_output=True, text=True
            ).stdout
        )
        for answer in ("yes", "no")
    }
    assert kept["yes"] < 5
    # Else the test would show nothing.
    assert kept["no"] > kept["yes"]
