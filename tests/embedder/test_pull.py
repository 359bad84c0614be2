"""`m3-embedder pull`: a shared folder is filled once, whole, and read without being written to."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.embedder import app
from m3.errors import ModelMismatch
from tests.embedder.fake_hub import MODEL, fake_hub
from tests.processes import COMMANDS, Running, running


@pytest.mark.drill
def test_two_at_once_fill_a_shared_folder_once(stand_in: Path, tmp_path: Path):
    cache = tmp_path / "models"
    command = [COMMANDS / "m3-embedder", "pull", "--model", MODEL, "--json"]
    with fake_hub(stand_in, pause=0.02) as hub, ExitStack() as stack:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0"}
        both = [stack.enter_context(running(command, env)) for _ in range(2)]
        assert [each.wait(120) for each in both] == [0, 0], both[0].output() + both[1].output()
        found = [told(each) for each in both]
        weights = (stand_in / "model.safetensors").stat().st_size
        assert hub.served["model.safetensors"] == weights, "one of them waited for the other"
    assert found[0] == found[1]
    assert found[0]["model"] == MODEL
    assert not list(cache.rglob("*.incomplete"))

    # Nodes find it without the hub, and leave the folder as it is.
    files = listing(cache)
    offline = {**env, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    with running(command, offline) as process:
        assert process.wait(120) == 0, process.output()
        assert found[0] == told(process)
    assert listing(cache) == files


def test_another_model_than_expected_is_refused(stand_in: Path):
    told = json.loads(run(stand_in, "--json"))
    assert told["directory"] == str(stand_in)
    assert told["fingerprint"] in run(stand_in, "--expect", told["fingerprint"])
    with pytest.raises(ModelMismatch, match=f"has the fingerprint {told['fingerprint']}, not f00d"):
        run(stand_in, "--expect", "f00d")


def told(process: Running) -> dict[str, str]:
    """What it printed as JSON, below what the hub's client says."""
    output = process.output()
    return json.loads(output[output.index("{") :])


def listing(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def run(model: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["pull", "--model", str(model), *arguments])
    if done.exception:
        raise done.exception
    return done.stdout
