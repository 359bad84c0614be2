"""m3-search keys as people and programs meet it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from serving.keys.ring import KeyRing
from tests.processes import COMMANDS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def keys(file: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"M3_API_KEYS_FILE": str(file)} if file else {})}
    return subprocess.run(
        [str(COMMANDS / "m3-search"), "keys", *arguments],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_key_is_made_shown_once_listed_and_removed(file: Path) -> None:
    made = keys(file, "add", "site", "--scopes", "read,write", "--tenant", "[acme]", "--rate", "5")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    assert KeyRing(file).find(secret.encode()).name == "site"
    assert "not shown again" in made.stderr
    listed = json.loads(keys(file, "list", "--json").stdout)["keys"]
    assert listed == [
        {
            "name": "site",
            "scopes": ["read", "write"],
            "tenant": "[acme]",
            "expires": None,
            "expired": False,
            "rate": 5.0,
            "burst": 5,
            "concurrency": None,
        }
    ]
    shown = keys(file, "list").stdout
    assert "[acme]" in shown
    assert secret not in shown
    assert keys(file, "remove", "site").returncode == 0
    assert json.loads(keys(file, "list", "--json").stdout) == {"keys": []}


def test_a_key_for_programs(file: Path) -> None:
    made = keys(None, "add", "op", "--json", "--file", str(file), "--expires", "2020-01-01")
    told = json.loads(made.stdout)
    assert (told["name"], told["file"]) == ("op", str(file))
    assert told["key"].startswith("m3_")
    assert "2020-01-01 (expired)" in keys(file, "list").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", "a b"], "name"),
        (["add", "k", "--scopes", "all"], "'read', 'write' or 'admin'"),
        (["add", "k", "--tenant", "*"], "scope admin"),
        (["add", "k", "--expires", "soon"], "not an ISO date"),
        (["remove", "k"], "cannot be read"),
        (["list"], "cannot be read"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(file: Path, arguments: list[str], words: str) -> None:
    failed = keys(file, *arguments)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")
    assert words in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert not file.exists()


def test_without_a_file_it_says_what_to_set() -> None:
    failed = keys(None, "list")
    assert failed.returncode == 2
    assert "M3_API_KEYS_FILE" in failed.stderr
