"""`python -m bench [NAME…]`: run benchmarks, print a table each, save JSON."""

from __future__ import annotations

import importlib
import os
import sys

NAMES = ("parity", "maxsim", "encode", "search")


def main() -> None:
    # As a node does: threads that wait by spinning cost most where others need the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    wanted = sys.argv[1:] or NAMES
    for name in wanted:
        if name not in NAMES:
            sys.exit(f"no benchmark {name!r}; there are: {', '.join(NAMES)}")
    for name in wanted:
        result = importlib.import_module(f"bench.{name}").run()
        result.show()
        print(f"  saved: {result.save()}\n")


if __name__ == "__main__":
    main()
