"""What a run remembers of the keys it met."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from ingest.running.seen import Seen
from ingest.sources import Place

PLACES = st.builds(Place, st.text(st.characters(), max_size=8), st.none() | st.integers(1, 2**40))


@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), PLACES)), st.data())
def test_the_first_place_of_a_key_is_remembered(met, data):
    seen, known = Seen(), {}
    keys = st.sampled_from([key for key, _ in met]) if met else st.nothing()
    again = data.draw(st.lists(st.tuples(keys, PLACES))) if met else []
    for key, place in met + again:
        assert seen.first(key, place) == known.get(key)
        known.setdefault(key, place)


MEET = """
import psutil
from ingest.running.seen import Seen
from ingest.sources import Place
process, seen, place = psutil.Process(), Seen(), Place("corpus.jsonl", 1)
before = process.memory_info().rss
for number in range(400_000):
    seen.first(number.to_bytes(16, "little"), place)
print(process.memory_info().rss - before)
"""
"""In a process of its own: what tests before have left to the allocator counts for nothing."""


def test_many_keys_take_little_memory():
    met = subprocess.run([sys.executable, "-c", MEET], capture_output=True, text=True, check=True)
    assert int(met.stdout) < 60 * 2**20
