"""`deploy/start_server.sh` with a real node: starts, refuses, rotates, explains, ends."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from m3.settings import Settings
from serving import server
from tests.processes import COMMANDS

SCRIPT = Path(__file__).parents[2] / "deploy/start_server.sh"


class Script:
    """The script with a folder and a model of its own."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self._env = {
            **os.environ,
            "M3_EMBEDDER": str(COMMANDS / "m3-embedder"),
            "LOG_DIR": str(folder),
            "PORT": "0",
            "MODEL": str(model),
            "M3_LOG_FILE_BYTES": "4096",
            "M3_LOG_FILE_BACKUPS": "2",
        }

    def run(self, *arguments: str, **env: str) -> tuple[int, str]:
        """Exit status, and stdout and stderr together."""
        done = subprocess.run(
            [SCRIPT, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**self._env, **env},
            timeout=240,
        )
        return done.returncode, done.stdout.decode()

    @property
    def pid(self) -> int:
        return int((self.folder / "m3-embedder-0.pid").read_text())


@pytest.fixture
def script(tmp_path: Path, stand_in: Path) -> Iterator[Script]:
    script = Script(tmp_path / "logs", stand_in)
    yield script
    script.run("stop", STOP_TIMEOUT="0")


def shown(output: str, name: str) -> str:
    found = re.search(rf"^  {name} +(\S+)$", output, re.MULTILINE)
    assert found, output
    return found[1]


def test_a_node_is_started_looked_after_and_stopped(script):
    assert script.run("status")[0] == 3
    status, output = script.run()
    assert status == 0, output
    url, pid = shown(output, "address"), int(shown(output, "pid"))
    assert httpx.get(f"{url}/readyz", trust_env=False, timeout=60).status_code == 200
    assert (script.pid, shown(output, "log")) == (pid, str(script.folder / "m3-embedder-0.log"))

    status, output = script.run("start")
    assert status == 1
    assert f"runs already under pid {pid} at {url}" in output

    # What the node writes goes to a log that rotates.
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        for _ in range(80):
            client.get("/v1/models")
    with (script.folder / "m3-embedder-0.log.lock").open() as lock:
        # Of the last line nobody knows when it is written: it rotates nothing meanwhile.
        fcntl.flock(lock, fcntl.LOCK_EX)
        logs = sorted(file.name for file in script.folder.glob("*.log*") if file.suffix != ".lock")
        assert logs == [f"m3-embedder-0.log{end}" for end in ("", ".1", ".2")]
        assert all((script.folder / name).stat().st_size <= 4096 for name in logs)
    assert "request" not in (script.folder / "m3-embedder-0.out").read_text()

    status, output = script.run("restart")
    assert status == 0, output
    assert output.startswith(f"the node under pid {pid} has ended\n")
    assert script.pid != pid
    assert script.run("status")[0] == 0

    # One that hangs is not ready, and is killed in the end.
    pid = script.pid
    os.kill(pid, signal.SIGSTOP)
    status, output = script.run("status")
    assert status == 4
    assert "not ready" in output
    status, output = script.run("restart", STOP_TIMEOUT="1")
    assert status == 0, output
    assert "was killed" in output
    assert script.pid != pid
    os.kill(script.pid, signal.SIGSTOP)
    status, output = script.run("stop", STOP_TIMEOUT="1")
    assert status == 1
    assert "was killed" in output
    assert script.run("status")[0] == 3
    assert script.run("stop") == (0, "no node runs for port 0\n")
    # Its workers see that it is gone.
    deadline = time.monotonic() + 60
    while any(str(script.folder) in log_file_of(process) for process in psutil.process_iter()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def log_file_of(process: psutil.Process) -> str:
    try:
        return process.environ().get("M3_LOG_FILE", "")
    except psutil.Error:
        return ""


def test_a_start_that_fails_says_why_and_where_to_look(script):
    status, output = script.run("start", "--model", "/no/such/folder")
    assert status == 1
    assert "no checkpoint folder at /no/such/folder" in output
    for word in ("nvidia-smi", "M3_EMBEDDER_TIMEOUT", "M3_MAX_BATCH_TOKENS"):
        assert word in output
    assert output.endswith("error: the node ended before it was ready\n")
    assert script.run("status")[0] == 3


def test_a_start_that_takes_too_long_is_told_and_goes_on(script):
    status, output = script.run("start", "--timeout", "0")
    assert status == 1
    assert f"not ready within 0 s; it goes on under pid {script.pid}" in output
    assert script.run("stop")[0] == 0


def test_a_pid_file_that_outlived_its_process_is_no_node(script):
    script.folder.mkdir()
    (script.folder / "m3-embedder-0.pid").write_text(f"{os.getpid()}\n")
    assert script.run("status")[0] == 3
    assert script.run("stop") == (0, "no node runs for port 0\n")


def test_a_start_leaves_another_that_is_under_way_alone(script):
    (script.folder / "m3-embedder-0.starting").mkdir(parents=True)
    (script.folder / "m3-embedder-0.out").write_text("of the other")
    status, output = script.run("start")
    assert status == 1
    assert "another start is under way" in output
    assert (script.folder / "m3-embedder-0.out").read_text() == "of the other"
    (script.folder / "m3-embedder-0.starting").rmdir()
    assert script.run("start", "--model", "/no/such/folder")[0] == 1
    assert not (script.folder / "m3-embedder-0.starting").exists()


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"OSTYPE": "linux-gnu"}, ".local/share"),
        ({"OSTYPE": "darwin24"}, "Library/Application Support"),
        ({"XDG_DATA_HOME": "{}/data"}, "data"),
    ],
)
def test_logs_are_in_the_state_directory(script, tmp_path, env, folder):
    given = {name: value.format(tmp_path) for name, value in env.items()}
    unset = {"LOG_DIR": "", "M3_HOME": "", "XDG_DATA_HOME": ""}
    script.run("status", **{**unset, "HOME": str(tmp_path), **given})
    assert (tmp_path / folder / "m3-retrieval/logs").is_dir()


def test_a_node_is_given_longer_than_it_takes_to_end():
    found = re.search(r"STOP_TIMEOUT:-(\d+)", SCRIPT.read_text())
    assert found
    assert int(found[1]) > Settings().drain_seconds + server.GRACE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["begin"], "unknown word begin"),
        (["start", "--prot", "1"], "unknown option --prot"),
        (["start", "--port"], "--port needs a value"),
        (["--port", "many"], "--port many is no number"),
    ],
)
def test_wrong_usage_is_told(script, arguments, words):
    status, output = script.run(*arguments)
    assert status == 2
    assert words in output


def test_help_names_every_option(script):
    status, output = script.run("help")
    assert status == 0
    for option in ("--port", "--host", "--model", "--precision", "--log-dir", "--timeout"):
        assert option in output
    assert script.run("start", "--help") == (0, output)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="no shellcheck")
def test_shellcheck_finds_nothing():
    subprocess.run(["shellcheck", SCRIPT], check=True)
