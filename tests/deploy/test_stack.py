"""docker-compose.yml: valid, safe by default, and naming only what the code and the images have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import orjson
import pytest
import yaml

from m3.settings import load_settings
from serving import server
from tests.deploy import known

ROOT = Path(__file__).parents[2]
STACK = ROOT / "docker-compose.yml"
CUDA = ROOT / "deploy/docker/compose.cuda.yml"
OURS = {"embedder": "embedder-cpu", "search": "search", "ingest": "ingest"}
"""Service to target."""


@pytest.fixture(scope="module")
def stack():
    return yaml.safe_load(STACK.read_text())


@pytest.mark.parametrize("file", [STACK, CUDA], ids=lambda file: file.name)
def test_it_is_a_compose_file(file):
    schema = orjson.loads((Path(__file__).parent / "compose.schema.json").read_bytes())
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load(file.read_text()))


@pytest.mark.skipif(not shutil.which("dclint"), reason="no dclint: npm install -g dclint")
def test_dclint_finds_nothing():
    done = subprocess.run(
        ["dclint", "--formatter", "json", STACK, CUDA, ROOT / "docker-compose.milvus.yml"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    problems = [m["message"] for file in json.loads(done.stdout) for m in file["messages"]]
    assert problems == []


def test_every_service_of_ours_is_built_from_a_stage_that_there_is(stack):
    stages = re.findall(
        r"^FROM \S+ AS (\S+)", (ROOT / "deploy/docker/Dockerfile").read_text(), re.MULTILINE
    )
    for name, target in OURS.items():
        build = stack["services"][name]["build"]
        assert (build["dockerfile"], build["target"]) == ("deploy/docker/Dockerfile", target)
        assert target in stages
    over = yaml.safe_load(CUDA.read_text())["services"]["embedder"]["build"]["target"]
    assert over in stages


def test_every_variable_is_a_setting(stack):
    for name in OURS:
        assert known.unknown_variables(stack["services"][name]["environment"]) == []


def test_services_find_each_other(stack):
    services = {*stack["services"]}
    for file in stack["include"]:
        services |= {*yaml.safe_load((ROOT / file).read_text())["services"]}
    env = stack["services"]["search"]["environment"]
    assert env["M3_EMBEDDER_URL"] == f"http://edge:{known.EDGE_PORT}"
    edge = stack["services"]["edge"]
    assert edge["expose"] == [str(known.EDGE_PORT), str(known.EDGE_WATCH_PORT)]
    assert edge["environment"] == dict.fromkeys(
        known.EDGE_VARIABLES, f"embedder:{known.EMBEDDER_PORT}"
    )
    asked = edge["healthcheck"]["test"][-1]
    assert asked == f"http://127.0.0.1:{known.EDGE_WATCH_PORT}/readyz"
    assert "/readyz" in known.EDGE_PATHS
    assert stack["services"]["embedder"]["expose"] == [str(known.EMBEDDER_PORT)]
    assert env["M3_MILVUS_URI"] == f"http://milvus:{known.PORTS['milvus']}"
    assert {"embedder", "milvus"} <= services
    for name, service in stack["services"].items():
        for need in service.get("depends_on", {}):
            assert need in services, (name, need)


def test_traces_are_off_unless_asked_for(stack):
    for name in OURS:
        env = stack["services"][name]["environment"]
        assert env["M3_TRACING"] == "${M3_TRACING:-false}"
        assert env["OTEL_EXPORTER_OTLP_ENDPOINT"].endswith(f"http://jaeger:{known.OTLP_PORT}}}")
    assert stack["services"]["jaeger"]["expose"] == [str(known.OTLP_PORT)]
    assert stack["services"]["jaeger"]["profiles"] == ["trace"]


def test_every_port_is_bound_to_loopback(stack):
    ports = [port for service in stack["services"].values() for port in service.get("ports", [])]
    assert ports
    for port in ports:
        host, published, inside = port.split(":")
        assert host == "127.0.0.1"
        assert published == inside
        assert int(inside) in known.PORTS.values()


def test_no_secret_has_a_default_and_the_example_has_none(stack):
    text = STACK.read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    for name in re.findall(r"\$\{(\w*(?:PASSWORD|KEY|TOKEN)\w*)", text):
        assert name in asked, f"compose must refuse to start without {name}"
    example = dict(
        line.split("=", 1)
        for line in (ROOT / "deploy/docker/example.env").read_text().splitlines()
        if line[:1] not in {"#", ""}
    )
    assert asked <= set(example)
    assert all(example[name] == "" for name in asked)
    milvus = (ROOT / "docker-compose.milvus.yml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", milvus)) <= set(example)


def test_services_of_ours_can_do_little(stack):
    for name in (*OURS, "edge"):
        service = stack["services"][name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "user" not in service, "the image's own"


def test_docker_waits_longer_than_a_server_takes_to_end(stack):
    for name in ("embedder", "search"):
        service = stack["services"][name]
        drain = load_settings(drain_seconds=service["environment"]["M3_DRAIN_SECONDS"])
        grace = int(service["stop_grace_period"].removesuffix("s"))
        assert grace > drain.drain_seconds + server.GRACE
