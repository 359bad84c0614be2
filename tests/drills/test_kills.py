"""kill -9 of command, node and Milvus, at logged points of a write and at any time between.

DRILL_SEED draws other kills; DRILL_HOME names a folder that keeps the state, where a drill that
was interrupted goes on.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import orjson
import pytest

from tests.drills.killing import Drill, Kill, Target

SEED = int(os.environ.get("DRILL_SEED", "0"))
DOCUMENTS = 100
CHANGED = 80
AT_POINTS: dict[Target, int] = {"cli": 20, "milvus": 10, "node": 5}
ANY_TIME: dict[Target, int] = {"cli": 10, "milvus": 8, "node": 7}
QUERIES = ["copper river", "winter garden letter", "document 7", "engine signal", "market"]


def plan() -> list[tuple[Target, bool]]:
    """Who is killed in each round, and whether at a logged point."""
    rounds = [(target, True) for target, n in AT_POINTS.items() for _ in range(n)]
    rounds += [(target, False) for target, n in ANY_TIME.items() for _ in range(n)]
    random.Random(SEED).shuffle(rounds)
    return rounds


@pytest.mark.drill
@pytest.mark.timeout(3600)
def test_sixty_kills(stand_in, tmp_path):
    """After each, a rerun makes all good; in the end all is as if nothing had happened."""
    home = Path(os.environ.get("DRILL_HOME", tmp_path))
    progress = home / "progress.json"
    done = orjson.loads(progress.read_bytes()) if progress.exists() else {"round": 0, "kills": {}}
    rounds, began = plan(), time.monotonic()
    print(f"seed {SEED}, from round {done['round']} of {len(rounds)}")
    with Drill(home, stand_in, DOCUMENTS) as drill:
        drill.kills.update(done["kills"])
        # What an interrupted drill left may be of any of its versions: this writes one of them.
        drill.write(dict.fromkeys(range(DOCUMENTS), 1_000 * done["round"]))
        for number in range(done["round"], len(rounds)):
            target, at_point = rounds[number]
            _round(drill, number, target, at_point=at_point)
            progress.write_bytes(orjson.dumps({"round": number + 1, "kills": drill.kills}))
        drill.compare(QUERIES)
        seconds = time.monotonic() - began
        print(f"{sum(drill.kills.values())} kills in {seconds:.0f} s: {dict(drill.kills)}")
        print(f"the reader: {drill.sightings()['counts']}")
    assert sum(drill.kills.values()) == len(rounds) == 60
    assert sum(n for name, n in drill.kills.items() if "at a point" in name) >= 20


def _round(drill: Drill, number: int, target: Target, *, at_point: bool) -> None:
    """Changes, a kill among them, a rerun; again where the run was over before the kill."""
    for attempt in range(10):
        rng = random.Random(f"{SEED}-{number}-{attempt}")
        kill = Kill.drawn(rng, target, at_point=at_point)
        version = 1_000 * number + attempt + 1
        happened = drill.write(dict.fromkeys(rng.sample(range(DOCUMENTS), CHANGED), version), kill)
        drill.again()
        drill.check()
        print(f"round {number}: {kill} {'happened' if happened else 'came too late'}", flush=True)
        if happened:
            return
    raise AssertionError(f"round {number}: no kill happened")


@pytest.mark.drill
def test_a_few_kills(stand_in, tmp_path):
    """One of each kind: the table ahead of the index, the index ahead of readers, a node away."""
    kills = [
        Kill("cli", "committed", 0.0),
        Kill("cli", "indexed", 0.0),
        Kill("milvus", "indexing", 0.0),
        Kill("node", None, 1.5),
    ]
    with Drill(tmp_path, stand_in, 20) as drill:
        drill.write(dict.fromkeys(range(20), 0))
        for version, kill in enumerate(kills, 1):
            assert drill.write(dict.fromkeys(range(version, 20), version), kill)
            drill.again()
            drill.check()
        drill.compare(QUERIES[:1])
        assert drill.sightings()["counts"]["polls"] > 10


@pytest.mark.drill
def test_the_drill_notices_a_reversed_order(stand_in, tmp_path):
    """With the pointer moved before the index is written, the same kill leaves what stays wrong."""
    with Drill(tmp_path, stand_in, 20, reversed=True) as drill:
        drill.write(dict.fromkeys(range(20), 0))
        assert drill.write(dict.fromkeys(range(10), 1), Kill("cli", "published", 0.0))
        drill.again()
        with pytest.raises(AssertionError, match="index and table differ"):
            drill.check()
        with pytest.raises(AssertionError, match="gone"):
            drill.check_reader()
