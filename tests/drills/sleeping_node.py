"""`m3-embedder` as it is, but for its worker, which sleeps: `python -m … serve --port PORT`."""

from __future__ import annotations

import sys
from functools import partial

from embedder.api import node
from embedder.batching.process import Order

if __name__ == "__main__":
    from commands import embedder

    node.Order = partial(Order, command=(sys.executable, "-m", "tests.drills.sleeping_worker"))
    embedder.main()
