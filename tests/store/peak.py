"""`python -m tests.store.peak TABLE`: prints the most MB that looks and writes take."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

from store.table.rows import to_arrow
from store.table.table import Table
from tests.store.test_growth import WIDE, wide_rows


def main() -> None:
    table = Table(sys.argv[1])
    rng = np.random.default_rng(7)
    for number in range(3):
        # One document is there already, so that rows go as well as come.
        documents = [wide_rows(rng, f"d{number}"), wide_rows(rng, f"new-{number}")]
        digests = [each.document.key.digest() for each in documents]
        table.latest().of_documents(digests, ["content_hash"])
        table.replace(to_arrow(documents, WIDE), digests)
    # What `getrusage` tells begins with the memory of whoever started this process.
    status = Path("/proc/self/status").read_text()
    print(int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) // 1024)


if __name__ == "__main__":
    main()
