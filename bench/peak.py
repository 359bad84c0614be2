"""What a core can multiply at the most, in fp32, bf16 and int8: the ceiling of every engine."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import Result

_SOURCE = Path(__file__).with_suffix(".c")
_FLAGS = ("-O2", "-mavx512f", "-mavx512bf16", "-mavx512vnni")
_KINDS = ("fp32", "bf16", "int8")


def run() -> Result:
    """GFLOP/s of one thread whose sums never leave the registers; needs a C compiler, AVX-512."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        try:
            subprocess.run(["cc", *_FLAGS, "-o", program, _SOURCE], check=True)
            printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"the ceiling cannot be measured here: {error}")
    rounds = [[float(value) for value in line.split()] for line in printed.splitlines()]
    columns = dict(zip(_KINDS, zip(*rounds, strict=True), strict=True))
    return Result(
        "peak",
        [
            {
                "what": kind,
                "GFLOP/s": statistics.median(column) / 1e9,
                "best": max(column) / 1e9,
                "times fp32": statistics.median(column) / statistics.median(columns["fp32"]),
            }
            for kind, column in columns.items()
        ],
        {"runs": len(rounds)},
    )
