"""A real Prometheus with the shipped rules, whose patience is seconds where theirs is minutes."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import httpx
import yaml

from tests.processes import running, wait_until

SHIPPED = Path(__file__).parents[2] / "deploy/prometheus"
RULES = SHIPPED / "rules"
CONFIGS = ("compose", "prometheus")
"""Of which a later one's jobs count; the first has a Milvus server's."""
WINDOWS = {"5m": "10s", "1h": "2m", "6h": "2m"}
LAG = "m3_collection_lag_seconds > 600"


def hurried(rules: str) -> str:
    """The same rules over shorter times; what they compare stays as it is, but for a lag."""
    assert LAG in rules or "alert" not in rules
    return shorter(re.sub(r"\n +for: \S+", "", rules).replace(LAG, LAG.replace("600", "1")))


def shorter(expressions: str) -> str:
    """The same over seconds."""
    return re.sub(r"\[(\w+)\]", lambda found: f"[{WINDOWS[found[1]]}]", expressions)


@dataclass(frozen=True, slots=True)
class Watch:
    url: str

    def firing(self) -> set[str]:
        """The names of alerts that fire."""
        return {labels["alertname"] for labels in self._firing()}

    def fires(self, alert: str, labels: Mapping[str, str]) -> bool:
        """Whether it does, of what has these labels."""
        wanted = {"alertname": alert, **labels}.items()
        return any(wanted <= found.items() for found in self._firing())

    def _firing(self) -> list[dict[str, str]]:
        alerts = self.ask("alerts")["alerts"]
        return [alert["labels"] for alert in alerts if alert["state"] == "firing"]

    def ask(self, path: str, **parameters: str) -> Any:
        """What Prometheus' own API says."""
        asked = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, trust_env=False)
        return asked.raise_for_status().json()["data"]

    def until_scraped(self) -> None:
        """Return once every target has been read."""
        deadline = time.monotonic() + 30
        while not (up := self.ask("query", query="up")["result"]) or any(
            series["value"][1] == "0" for series in up
        ):
            assert time.monotonic() < deadline, up
            time.sleep(0.2)

    def sees(
        self,
        alert: str,
        *,
        seconds: float = 90,
        meanwhile: Callable[[], object] = int,
        **labels: str,
    ) -> None:
        """Return once the alert fires, of what has these labels; `meanwhile` goes on until then."""
        deadline = time.monotonic() + seconds
        while not self.fires(alert, labels):
            assert time.monotonic() < deadline, f"{alert} did not fire; {self.firing()} did"
            meanwhile()
            time.sleep(0.2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


Targets: TypeAlias = Mapping[str, str | Sequence[str]]
"""By job, where it is asked."""


class Starts(Protocol):
    """`prometheus`, and what a drill keeps of it."""

    def __call__(
        self, folder: Path, targets: Targets, *, prober: str = ""
    ) -> AbstractContextManager[Watch]: ...


@contextmanager
def prometheus(folder: Path, targets: Targets, *, prober: str = "") -> Iterator[Watch]:
    """Prometheus over these targets.

    Args:
        prober: where blackbox_exporter is, for certificates.
    """
    (folder / "rules").mkdir(parents=True)
    for file in RULES.glob("*.yml"):
        (folder / "rules" / file.name).write_text(hurried(file.read_text()))
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules/*.yml"],
        "scrape_configs": _jobs(targets, prober),
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


def _jobs(targets: Targets, prober: str) -> list[dict[str, Any]]:
    """The shipped configurations', asked elsewhere."""
    configs = [yaml.safe_load((SHIPPED / f"{name}.yml").read_text()) for name in CONFIGS]
    shipped = {job["job_name"]: job for config in configs for job in config["scrape_configs"]}
    jobs = [job for name, job in shipped.items() if name in targets]
    assert len(jobs) == len(targets), targets
    for job in jobs:
        given = targets[job["job_name"]]
        job["static_configs"] = [{"targets": [given] if isinstance(given, str) else [*given]}]
        for relabelling in job.get("relabel_configs", ()):
            if "replacement" in relabelling:
                relabelling["replacement"] = prober
    return jobs


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
