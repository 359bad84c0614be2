"""m3-search keys as people and programs meet it."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from serving.keys.ring import KeyRing
from tests.commands.calls import run
from tests.processes import COMMANDS, server
from tests.serving.keys import bearing


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def keys(file: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run({"M3_API_KEYS_FILE": str(file)} if file else {}, "keys", *arguments)


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


def test_two_tenants_share_a_running_server(file: Path, node: str, tmp_path: Path) -> None:
    tenants = ("acme", "beta")
    secret = {
        tenant: keys(
            file, "add", tenant, "--scopes", "read,write", "--tenant", tenant
        ).stdout.strip()
        for tenant in tenants
    }
    operator = keys(file, "add", "op", "--scopes", "read,write,admin", "--tenant", "*")
    environment = {
        "M3_HOME": str(tmp_path / "home"),
        "M3_EMBEDDER_URL": node,
        "M3_API_KEYS_FILE": str(file),
        "M3_AUDIT_FILE": str(tmp_path / "audit"),
        "M3_LOG_LEVEL": "error",
    }
    # Keys are what lets it answer other machines.
    arguments = [COMMANDS / "m3-search", "serve", "--host", "0.0.0.0", "--port", "0"]
    with (
        server(arguments, environment) as (url, _),
        httpx.Client(
            base_url=url.replace("0.0.0.0", "127.0.0.1"), trust_env=False, timeout=60
        ) as api,
    ):
        admin = bearing(operator.stdout.strip())
        made = api.post("/v1/collections", json={"name": "notes"}, headers=admin)
        assert made.status_code == 201, made.text
        for tenant in tenants:
            body = {"text": f"The bread of {tenant} needs flour and water."}
            path = "/v1/collections/notes/documents/bread"
            assert api.put(path, json=body, headers=bearing(secret[tenant])).status_code == 201
        question = {"query": "bread", "collection": "notes"}
        for tenant in tenants:
            found = api.post("/v1/search", json=question, headers=bearing(secret[tenant])).json()
            assert [hit["text"].split()[3] for hit in found["hits"]] == [tenant]
            told = api.get("/v1/collections/notes", headers=bearing(secret[tenant])).json()
            assert (told["documents"], told["bytes"]) == (1, None)
        assert api.get("/v1/collections/notes", headers=admin).json()["documents"] == 2
        assert asked(api, environment, secret["beta"])[0]["text"].startswith("The bread of beta")
        keys(file, "remove", "beta")
        refused_by = time.monotonic() + 60
        while api.get("/v1/collections", headers=bearing(secret["beta"])).status_code != 401:
            assert time.monotonic() < refused_by
            time.sleep(0.1)
        assert api.get("/v1/collections", headers=bearing(secret["acme"])).status_code == 200
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert [(line["key"], line["tenant"], line["method"]) for line in lines] == [
        ("op", "default", "POST"),
        ("acme", "acme", "PUT"),
        ("beta", "beta", "PUT"),
    ]
    assert run(environment, "engine", "stop").returncode == 0


def asked(api: httpx.Client, environment: dict[str, str], secret: str) -> list[dict[str, str]]:
    arguments = ["query", "bread", "-c", "notes", "--json", "--url", str(api.base_url)]
    answer = run({**environment, "M3_API_KEY": secret}, *arguments)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)["hits"]
