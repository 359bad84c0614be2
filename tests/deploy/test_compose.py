"""docker-compose.milvus.yml against the compose schema, and what we promise of it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import jsonschema
import orjson
import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "docker-compose.milvus.yml").read_text()


@pytest.fixture(scope="module")
def compose(text):
    return yaml.safe_load(text)


def test_it_is_a_compose_file(compose):
    schema = orjson.loads((Path(__file__).parent / "compose.schema.json").read_bytes())
    jsonschema.Draft7Validator(schema).validate(compose)
    assert set(compose["services"]) == {"etcd", "minio", "milvus"}


def test_every_service_has_a_health_check_and_a_pinned_image(compose):
    for name, service in compose["services"].items():
        assert service["healthcheck"]["test"], name
        assert re.search(r":[vR][\w.-]*\d", service["image"]), service["image"]


def test_milvus_waits_for_what_it_needs(compose):
    needs = compose["services"]["milvus"]["depends_on"]
    assert {name: need["condition"] for name, need in needs.items()} == {
        "etcd": "service_healthy",
        "minio": "service_healthy",
    }


def test_every_port_is_bound_to_loopback(compose):
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert {"127.0.0.1:19530:19530", "127.0.0.1:9091:9091"} == set(ports)


def test_its_head_gives_the_token_that_milvus_is_started_with(text, tmp_path):
    [export] = re.findall(r"^# +(export .*)$", text, re.MULTILINE)
    (tmp_path / ".env.milvus").write_text("MINIO_ROOT_PASSWORD=a\nMILVUS_ROOT_PASSWORD=s3cr=t\n")
    script = f'{export}; echo "$M3_MILVUS_TOKEN"'
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True, capture_output=True)
    assert done.stdout == b"root:s3cr=t\n"


def test_no_secret_has_a_default(text):
    for line in text.splitlines():
        if re.search(r"PASSWORD|SECRET", line) and "${" in line:
            assert re.search(r"\$\{\w+:\?", line), f"compose must refuse to start without: {line}"
    assert "minioadmin" not in text
    example = (ROOT / "deploy/milvus/example.env").read_text()
    assert re.findall(r"PASSWORD=(.*)", example) == ["", ""]
