"""A Milvus server of the `milvus` package: `python -m tests.drills.milvus_server FOLDER PORT`.

PORT is of its metrics; the others are free ones.
"""

from __future__ import annotations

import sys

from milvus import MilvusServer

if __name__ == "__main__":
    folder, port = sys.argv[1:]
    server = MilvusServer(wait_for_started=False)
    server.set_base_dir(folder)
    server.webservice_port = int(port)
    server.start()
    server.wait()
