"""What a core can multiply at the most, in fp32, bf16 and int8: the ceiling of every engine."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Result

_SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True, slots=True)
class _Instructions:
    name: str
    flags: tuple[str, ...]
    kinds: tuple[str, ...]


_SETS = (
    _Instructions(
        "AVX-512", ("-mavx512f", "-mavx512bf16", "-mavx512vnni"), ("fp32", "bf16", "int8")
    ),
    _Instructions("AVX2", ("-mavx2", "-mfma"), ("fp32", "int8")),
)


def run() -> Result:
    """GFLOP/s of one thread whose sums never leave the registers; needs a C compiler, x86.

    Without AVX-512 BF16 and VNNI in fp32, and in int8 as our kernel for AVX2 multiplies; there is
    no bf16 there.
    """
    for instructions in _SETS:
        printed = _printed(instructions.flags)
        if printed is not None:
            return _result(instructions, printed)
    sys.exit("the ceiling cannot be measured here: this processor has no AVX2")


def _printed(flags: tuple[str, ...]) -> str | None:
    """None where the processor lacks the instructions."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peak"
        try:
            subprocess.run(["cc", "-O2", *flags, "-o", program, _SOURCE], check=True)
            return subprocess.run([program], check=True, capture_output=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            if getattr(error, "returncode", None) == -signal.SIGILL:
                return None
            sys.exit(f"the ceiling cannot be measured here: {error}")


def _result(instructions: _Instructions, printed: str) -> Result:
    rounds = [[float(value) for value in line.split()] for line in printed.splitlines()]
    columns = dict(zip(instructions.kinds, zip(*rounds, strict=True), strict=True))
    best = instructions is _SETS[0]
    return Result(
        "peak" if best else "peak-avx2",
        [
            {
                "what": kind,
                "GFLOP/s": statistics.median(column) / 1e9,
                "best": max(column) / 1e9,
                "times fp32": statistics.median(column) / statistics.median(columns["fp32"]),
            }
            for kind, column in columns.items()
        ],
        {
            "runs": len(rounds),
            "instructions": instructions.name,
            **({} if best else {"not measured": "bf16, which this processor does not multiply"}),
        },
    )
