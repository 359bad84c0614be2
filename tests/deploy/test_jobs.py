"""Workflows by their schema, and what they name; log rotation by logrotate itself."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from serving.audit import AuditFile
from tests.processes import COMMANDS

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
LOGROTATE = ROOT / "deploy/logrotate/m3"
PATH = re.compile(r"\b(?:tests|tools|deploy|docker-compose)[\w./-]+")
logrotate = pytest.mark.skipif(
    not shutil.which("logrotate"), reason="no logrotate: apt install logrotate"
)


def test_workflows_are_valid():
    assert len(WORKFLOWS) >= 2
    schema = ["--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run(
        [COMMANDS / "check-jsonschema", *schema, *WORKFLOWS],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not shutil.which("actionlint"), reason="no actionlint")
def test_actionlint_finds_nothing():
    subprocess.run(["actionlint", *WORKFLOWS], check=True)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_may_do_little_and_name_what_there_is(file):
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            for path in PATH.findall(step.get("run", "")):
                assert (ROOT / path).exists(), path


def rotation_of(folder: Path, tmp_path: Path) -> Path:
    """The file for logs in another folder, as it is installed: logrotate reads no other's file."""
    config = tmp_path / "m3"
    config.write_text(LOGROTATE.read_text().replace("/var/log/m3", str(folder)))
    config.chmod(0o644)
    return config


@logrotate
def test_logrotate_reads_its_file(tmp_path: Path):
    done = subprocess.run(
        ["logrotate", "-d", rotation_of(tmp_path / "none", tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Handling 2 logs" in done.stderr
    assert "error" not in done.stderr


@logrotate
@pytest.mark.skipif(os.geteuid() != 0, reason="logrotate's `su` needs root")
def test_no_line_is_lost_when_logs_are_rotated(tmp_path: Path):
    config = rotation_of(tmp_path, tmp_path)
    audit = AuditFile(tmp_path / "audit.jsonl")
    log = (tmp_path / "server.log").open("ab", buffering=0)
    for round_ in range(3):
        audit.write({"n": round_})
        log.write(b"%d\n" % round_)
        subprocess.run(["logrotate", "-f", "-s", tmp_path / "state", config], check=True)
        audit.write({"n": f"after {round_}"})
    log.write(b"last\n")
    assert (tmp_path / "server.log").read_bytes() == b"last\n"
    assert (tmp_path / "server.log.1").read_bytes() == b"2\n"
    assert gzip.decompress((tmp_path / "server.log.2.gz").read_bytes()) == b"1\n"
    assert (tmp_path / "audit.jsonl").read_bytes() == b'{"n":"after 2"}\n'
    assert (tmp_path / "audit.jsonl.1").read_bytes() == b'{"n":"after 1"}\n{"n":2}\n'
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600
