"""What a run remembers of the keys it met."""

from __future__ import annotations

from pathlib import Path

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


def test_many_keys_take_little_memory():
    def resident() -> int:
        line = next(
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmRSS")
        )
        return int(line.split()[1]) * 1024

    seen, place = Seen(), Place("corpus.jsonl", 1)
    before = resident()
    for number in range(400_000):
        seen.first(number.to_bytes(16, "little"), place)
    assert resident() - before < 60 * 2**20
