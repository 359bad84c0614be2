"""The embedded Milvus as a process: started, shared, ended, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orjson
import psutil
import pytest

from m3.errors import MilvusUnreachable
from m3.settings import load_settings
from store.index.engine import Engine
from store.opening import open_store
from tests.pace import until
from tests.store.examples import SPEC, document_rows, query


@pytest.fixture
def engine(tmp_path: Path):
    engine = Engine(tmp_path, idle_seconds=1.0)
    yield engine
    engine.detach()
    engine.stop()


ATTACH = """
import sys
from pathlib import Path
from store.index.engine import Engine
engine = Engine(Path(sys.argv[1]), 60.0)
engine.attach()
print(engine.status().pid, flush=True)
sys.stdin.read()
"""


def attached(home):
    """A process that uses the engine until its stdin closes."""
    return subprocess.Popen(
        [sys.executable, "-c", ATTACH, home],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def supervisors(home):
    """Of this state directory, those that run."""
    mine = {"store.index.supervisor", str(home / "milvus")}
    processes = psutil.process_iter(["cmdline", "status"])
    return [
        each
        for each in processes
        if each.info["status"] != psutil.STATUS_ZOMBIE and mine <= set(each.info["cmdline"] or ())
    ]


def test_several_that_come_first_start_one_and_share_it(tmp_path):
    users = [attached(tmp_path) for _ in range(4)]
    try:
        shared = {int(user.stdout.readline()) for user in users}
    finally:
        for user in users:
            user.communicate("")
        Engine(tmp_path, 1.0).stop()
    until(lambda: not supervisors(tmp_path))
    last = orjson.loads((tmp_path / "milvus/engine.json").read_bytes())["engine"]
    assert shared == {last}, "one that came too late started another"


def test_it_ends_when_nobody_uses_it(engine):
    engine.attach()
    time.sleep(2.0)
    assert engine.status().running, "it is in use"
    engine.detach()
    until(lambda: not engine.status().running)


def test_it_comes_back_after_kill_9(engine):
    engine.attach()
    os.kill(engine.status().pid, signal.SIGKILL)
    until(lambda: not engine.status().running)
    engine.attach()
    assert engine.status().running


def test_it_can_be_stopped_when_its_supervisor_was_killed(engine):
    engine.attach()
    state = orjson.loads((engine.directory / "engine.json").read_bytes())
    os.kill(state["supervisor"], signal.SIGKILL)
    assert engine.status().running, "the engine holds the lock too"
    assert engine.stop()
    assert not engine.status().running


def test_its_folder_is_private(engine):
    engine.attach()
    assert engine.directory.stat().st_mode & 0o777 == 0o700


def test_a_long_path_gets_a_short_socket(tmp_path):
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    engine = Engine(deep, 60.0)
    try:
        assert len(os.fsencode(engine.socket)) < 104
        engine.attach()
        assert engine.socket.parent.stat().st_mode & 0o777 == 0o700
    finally:
        engine.detach()
        engine.stop()


def test_an_engine_that_cannot_start_says_where_its_log_is(engine):
    engine.directory.mkdir(parents=True)
    (engine.directory / "milvus.db").mkdir()
    with pytest.raises(MilvusUnreachable, match=r"engine\.log"):
        engine.attach()


def test_a_call_into_a_killed_engine_says_so_and_the_next_one_works(tmp_path):
    rng = np.random.default_rng(1)
    store = open_store(load_settings(home=tmp_path, engine_idle=5))
    try:
        collection = store.create("docs", SPEC)
        collection.replace([document_rows(rng, "a")])
        os.kill(Engine(tmp_path, 5).status().pid, signal.SIGKILL)
        with pytest.raises(MilvusUnreachable, match="run this again"):
            collection.candidates(query(rng), legs=["dense"], depth=5, tenant="default")
        found = collection.candidates(query(rng), legs=["dense"], depth=5, tenant="default")
        assert [chunk.document_id for chunk in found.rows.chunks] == ["a"]
        os.kill(Engine(tmp_path, 5).status().pid, signal.SIGKILL)
        with pytest.raises(MilvusUnreachable):
            collection.replace([document_rows(rng, "b")])
        collection.replace([document_rows(rng, "c")])
        assert collection.verify().consistent
        assert collection.status().documents == 3, "what was committed is published"
    finally:
        store.close()
        Engine(tmp_path, 5).stop()


def test_it_leaves_nothing_in_the_folder_for_temporary_files(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    engine = Engine(tmp_path, idle_seconds=1.0)
    engine.attach()
    engine.detach()
    engine.stop()
    assert not list(temporary.rglob("milvus*.INFO*"))
