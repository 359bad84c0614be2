"""kill -9 while a table is compacted and cleaned: beside a run's writes, at its end, by command.

DRILL_SEED draws other kills.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.drills.killing import Drill, Kill
from tests.drills.launcher import CLEANING, COMPACTING

SEED = int(os.environ.get("DRILL_SEED", "0"))
ROUNDS = 8
DOCUMENTS = 40
CHANGED = 30
LONGEST_DELAY = 0.06
"""Seconds after a logged point: as long as compacting so small a table takes."""


@pytest.mark.drill
@pytest.mark.timeout(900)
def test_kills_amid_compaction(stand_in: Path, tmp_path: Path):
    """Nothing is missing, double or mixed at any time; in the end all is as if undisturbed."""
    killed = {"run": 0, "compact": 0}
    with Drill(tmp_path, stand_in, DOCUMENTS, small=True) as drill:
        drill.write(dict.fromkeys(range(DOCUMENTS), 0))
        for number in range(ROUNDS):
            rng = random.Random(f"{SEED}-{number}")
            changed = dict.fromkeys(rng.sample(range(DOCUMENTS), CHANGED), number + 1)
            if number % 2:
                drill.write(changed)
                kill = _drawn(rng, COMPACTING + CLEANING)
                killed["compact"] += drill.compact(kill)
                drill.check()
            else:
                kill = _drawn(rng, COMPACTING)
                killed["run"] += drill.write(changed, kill)
                drill.again()
                drill.check()
            print(f"round {number}: {kill}, killed so far {killed}", flush=True)
        drill.compare(["copper river", "market"])
        print(f"the reader: {drill.sightings()['counts']}")
    assert min(killed.values()) >= 3


def _drawn(rng: random.Random, points: tuple[str, ...]) -> Kill:
    return Kill("cli", rng.choice(points), rng.choice([0.0, rng.uniform(0.001, LONGEST_DELAY)]))
