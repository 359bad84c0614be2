"""A Milvus server as far as bulk loads go: the client's calls, and the REST API of imports.

Shapes are those of pymilvus 3.0 and of Milvus' REST documentation; no real server was asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

JOBS = "/v2/vectordb/jobs/import/"
CREATE_FIELDS = {"collectionName", "dbName", "partitionName", "files", "options"}
"""Of a create request, those that a server of one's own reads; the rest are Zilliz Cloud's."""


class FakeClient:
    """`MilvusClient`, of collections that hold row ids; imported ones are found after a refresh."""

    def __init__(self) -> None:
        self.collections: dict[str, set[int]] = {}
        self.imported: dict[str, set[int]] = {}
        self.upserted = 0

    def has_collection(self, name: str, **_: Any) -> bool:
        return name in self.collections

    def create_collection(self, name: str, **_: Any) -> None:
        self.collections[name] = set()

    def drop_collection(self, name: str, **_: Any) -> None:
        del self.collections[name]

    def load_collection(self, name: str, **_: Any) -> None:
        assert name in self.collections

    def refresh_load(self, name: str, **_: Any) -> None:
        self.collections[name] |= self.imported.pop(name, set())

    def upsert(self, name: str, rows: list[dict[str, Any]], **_: Any) -> None:
        self.upserted += len(rows)
        self.collections[name] |= {row["row"] for row in rows}

    def delete(self, name: str, *, ids: list[int], **_: Any) -> None:
        self.collections[name] -= set(ids)

    def query_iterator(self, name: str, **_: Any) -> Any:
        return _Pages(sorted(self.collections[name]))

    def close(self) -> None:
        pass


class _Pages:
    def __init__(self, ids: list[int]) -> None:
        self._pages = [[{"row": row} for row in ids]] if ids else []

    def next(self) -> list[dict[str, int]]:
        return self._pages.pop() if self._pages else []

    def close(self) -> None:
        pass


@dataclass
class FakeServer:
    """What the REST API answers from, and what it was asked.

    Attributes:
        storage: the folder that stands for the server's bucket.
        token: what calls must carry.
        states: of every job, one an ask, the last for good.
        lost: rows that an import leaves out.
        underway: jobs that are listed as going on.
    """

    client: FakeClient
    storage: Path
    token: str = "root:Milvus"
    url: str = ""
    states: list[str] = field(default_factory=lambda: ["Pending", "Importing", "Completed"])
    reason: str = ""
    lost: set[int] = field(default_factory=set)
    underway: list[str] = field(default_factory=list)
    jobs: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def answer(self, path: str, authorization: str | None, body: dict[str, Any]) -> dict[str, Any]:
        assert path.startswith(JOBS)
        self.asked.append((path.removeprefix(JOBS), body))
        if authorization != f"Bearer {self.token}":
            return {"code": 1800, "message": "user hasn't authenticated"}
        match path.removeprefix(JOBS):
            case "create":
                return self._create(body)
            case "describe":
                return self._describe(body["jobId"])
            case "list":
                records = [self._record(job, "Importing") for job in self.underway]
                return {"code": 0, "data": {"records": records}}
            case _:
                return {"code": 404, "message": "no such path"}

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        assert body["partitionName"] == ""
        assert not {name for name in body if body[name]} - CREATE_FIELDS
        assert body["collectionName"] in self.client.collections
        assert all(len(files) == 1 and files[0].endswith(".parquet") for files in body["files"])
        job = str(400 + len(self.jobs))
        self.jobs[job] = (body["collectionName"], [file for (file,) in body["files"]])
        return {"code": 0, "data": {"jobId": job}}

    def _describe(self, job: str) -> dict[str, Any]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state == "Completed":
            name, files = self.jobs[job]
            rows = self.client.imported.setdefault(name, set())
            for file in files:
                table = pq.read_table(self.storage / file)
                rows |= set(table["row"].to_pylist()) - self.lost
        return {"code": 0, "data": self._record(job, state)}

    def _record(self, job: str, state: str) -> dict[str, Any]:
        percent = {"Pending": 0, "Importing": 40}.get(state, 100)
        return {"jobId": job, "state": state, "progress": percent, "reason": self.reason}


@contextmanager
def serving(fake: FakeServer) -> Iterator[FakeServer]:
    """The REST API, at `fake.url`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, answer = 200, fake.answer(self.path, self.headers["Authorization"], body)
            except AssertionError as error:
                status, answer = 400, {"code": 1, "message": repr(error)}
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
