"""The installed command: what it prints and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.processes import COMMANDS, running, wait_for_server

COMMAND = COMMANDS / "m3-embedder"


def ended(*arguments: object, **env: str) -> tuple[int, str]:
    """Exit status, and stdout and stderr together."""
    with running([COMMAND, *map(str, arguments)], env) as process:
        return process.wait(280), process.output()


def last_line(output: str) -> str:
    return output.strip().splitlines()[-1]


def test_help_has_examples():
    for command in ((), ("serve",), ("encode",), ("stand-in",)):
        status, output = ended(*command, "--help")
        assert status == 0
        assert "m3-embedder" in output
        assert ("--insecure" in output) == (command == ("serve",))


def test_serve_prints_where_and_what_and_ends_well(stand_in):
    with running([COMMAND, "serve", "--port", "0", "--model", stand_in]) as process:
        url = wait_for_server(process)
        output = process.output()
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert f"m3-embedder at {url}" in output
    assert "English-only stand-in" in output
    assert "no GPU found" in output or "computing on the GPU" in output


def test_an_interrupt_ends_with_130(stand_in):
    with running([COMMAND, "serve", "--port", "0", "--model", stand_in]) as process:
        wait_for_server(process, ready=False)
        process.signal(signal.SIGINT)
        assert process.wait() == 130
        assert "Traceback" not in process.output()


def test_a_text_that_is_no_utf8_is_refused_before_the_model_is_touched():
    status, output = ended("encode", "--model", "/no/such/folder", "fine", "no \udcff text")
    assert status == 2
    assert last_line(output) == "error: TEXT 2 is not UTF-8: write it in that encoding"
    assert "Traceback" not in output


def test_a_taken_port_is_told_before_the_model_is_touched():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, output = ended("serve", "--port", port, "--model", "/no/such/folder")
    assert status == 2
    assert last_line(output).startswith(f"error: port {port} on 127.0.0.1 is taken")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--model", "/no/such/folder"], 2, "no checkpoint folder at /no/such/folder"),
        (["--host", "0.0.0.0"], 2, "M3_API_KEYS_FILE"),
        (["--precision", "fp8"], 2, "needs an NVIDIA GPU"),
        (["--precision", "int3"], 2, "int3"),
        (["--port", "99999"], 2, "65535"),
        (["--model", "BAAI/bge-m3"], 3, "M3_MODEL"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_line(stand_in, tmp_path, arguments, status, words):
    arguments = ["serve", "--port", "0", "--model", stand_in, *arguments]
    found, output = ended(*arguments, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert (found, words in output) == (status, True), output
    assert "Traceback" not in output


def test_a_broken_checkpoint_ends_the_node_with_2(stand_in, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    status, output = ended("serve", "--port", "0", "--model", tmp_path)
    assert status == 2
    assert last_line(output).startswith("error: ")
    assert "model_type" in last_line(output)


def test_another_model_than_the_settings_name_is_refused(stand_in):
    status, output = ended("serve", "--port", 0, "--model", stand_in, M3_FINGERPRINT="0" * 32)
    assert status == 2
    assert last_line(output).startswith("error: ")
    assert f"M3_FINGERPRINT wants {'0' * 32}" in last_line(output)


def test_settings_that_contradict_each_other_are_refused(stand_in):
    settings = {"M3_MAX_BATCH_TOKENS": "16384", "M3_MAX_QUEUE_TOKENS": "8192"}
    status, output = ended("serve", "--port", 0, "--model", stand_in, **settings)
    assert (status, "M3_MAX_BATCH_TOKENS (16384) is more than" in last_line(output)) == (2, True)


def test_a_cache_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    status, output = ended("serve", "--port", 0, HF_HOME=str(tmp_path / "cache"))
    assert status in {2, 3}
    assert last_line(output).startswith("error: ")
    assert "Traceback" not in output


def test_encode_needs_no_node(stand_in):
    status, output = ended("encode", "--model", stand_in, "What is BGE M3?", "hello")
    assert status == 0
    assert "English-only stand-in" in output
    assert "384 dimensions" in output
    assert "hello 0." in output


def test_encode_prints_json_for_machines(stand_in):
    printed = subprocess.run(
        [COMMAND, "encode", "--json", "--model", str(stand_in), "hello", "world"],
        check=True,
        capture_output=True,
    )
    answer = json.loads(printed.stdout)
    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert len(answer["data"][0]["dense"]) == 384


def test_stand_in_builds_and_says_where(tmp_path: Path):
    folder = tmp_path / "stand-in"
    status, output = ended("stand-in", folder)
    assert status == 0
    assert f"English-only stand-in at {folder}" in output
    status, output = ended("stand-in", folder, "--json")
    assert json.loads(output) == {"directory": str(folder)}
    status, output = ended("stand-in", tmp_path)
    assert status == 2
    assert "holds something else" in output
