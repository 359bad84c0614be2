"""What the code has: names of settings, ports, routes. Deployment files may name nothing else."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from typer.main import get_command

from commands import embedder, ingest
from commands.search import serve as search_serve
from m3.settings import Settings

SETTINGS = frozenset(f"M3_{name.upper()}" for name in Settings.model_fields)
THEIRS = frozenset({"HF_HOME", "HF_HUB_OFFLINE", "HF_TOKEN", "HOME", "OTEL_EXPORTER_OTLP_ENDPOINT"})
"""Variables of libraries, which docs/settings.md names."""
AWS = "AWS_"
EMBEDDER_PORT: int = inspect.signature(embedder.serve).parameters["port"].default
SEARCH_PORT: int = inspect.signature(search_serve.serve).parameters["port"].default
_HAPROXY = Path(__file__).parents[2] / "deploy/haproxy"
_LISTENING = (_HAPROXY / "listen-inside.cfg").read_text()
EDGE_PORT, EDGE_WATCH_PORT = map(int, re.findall(r"bind :(\d+)", _LISTENING))
EDGE_PATHS = frozenset(re.findall(r"{ path (/\w+) }", _LISTENING))
"""That the second of these ports answers."""
EDGE_VARIABLES = frozenset(re.findall(r"\${(\w+)}", (_HAPROXY / "nodes.cfg").read_text()))
OTLP_PORT = 4318
"""OpenTelemetry's, over HTTP."""
PORTS = {
    "embedder": EMBEDDER_PORT,
    "search": SEARCH_PORT,
    "milvus": 19530,
    "milvus metrics": 9091,
    "prometheus": 9090,
    "grafana": 3000,
    "jaeger": 16686,
}


def options_of(app: str, command: str) -> frozenset[str]:
    """The options of `m3-embedder COMMAND` and of `m3-ingest COMMAND`."""
    group: Any = get_command({"m3-embedder": embedder.app, "m3-ingest": ingest.app}[app])
    return frozenset(name for each in group.commands[command].params for name in each.opts)


def paths_of(app: FastAPI) -> frozenset[str]:
    return frozenset(app.openapi()["paths"])


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Those that neither our settings nor the libraries beneath read."""
    return sorted(
        name for name in names if name not in SETTINGS | THEIRS and not name.startswith(AWS)
    )
