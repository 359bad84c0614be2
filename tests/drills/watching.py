"""A real Prometheus with the shipped rules, whose patience is seconds where theirs is minutes."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import yaml

from tests.processes import running, wait_until

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules"
WINDOWS = {"5m": "10s", "1h": "2m", "6h": "2m"}
LAG = "m3_collection_lag_seconds > 600"


def hurried(rules: str) -> str:
    """The same rules over shorter times; what they compare stays as it is, but for a lag."""
    assert LAG in rules or "alert" not in rules
    rules = re.sub(r"\n +for: \S+", "", rules).replace(LAG, LAG.replace("600", "1"))
    return re.sub(r"\[(\w+)\]", lambda found: f"[{WINDOWS[found[1]]}]", rules)


@dataclass(frozen=True, slots=True)
class Watch:
    url: str

    def firing(self) -> set[str]:
        answer = httpx.get(f"{self.url}/api/v1/alerts", trust_env=False).json()
        return {
            alert["labels"]["alertname"]
            for alert in answer["data"]["alerts"]
            if alert["state"] == "firing"
        }

    def sees(
        self, alert: str, *, seconds: float = 90, meanwhile: Callable[[], object] = int
    ) -> None:
        """Return once the alert fires; `meanwhile` goes on until then."""
        deadline = time.monotonic() + seconds
        while alert not in self.firing():
            assert time.monotonic() < deadline, f"{alert} did not fire; {self.firing()} did"
            meanwhile()
            time.sleep(0.2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, str]) -> Iterator[Watch]:
    """Prometheus over these targets, by job."""
    (folder / "rules").mkdir(parents=True)
    for file in RULES.glob("*.yml"):
        (folder / "rules" / file.name).write_text(hurried(file.read_text()))
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules/*.yml"],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]}
            for job, target in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    watch = Watch(f"http://127.0.0.1:{free_port()}")
    arguments = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={watch.url.removeprefix('http://')}",
    ]
    with running(arguments) as process:

        def ready() -> str | None:
            try:
                found = httpx.get(f"{watch.url}/-/ready", trust_env=False)
            except httpx.TransportError:
                return None
            return "ready" if found.is_success else None

        wait_until(ready, process)
        yield watch


@contextmanager
def shown(file: Path) -> Iterator[str]:
    """The address of an exporter that shows a file, as node_exporter's textfile collector does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = file.read_bytes() if file.exists() else b""
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            with suppress(BrokenPipeError):
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
