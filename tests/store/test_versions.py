"""What a version of the table has over another, against the whole of both."""

from __future__ import annotations

import tempfile
from datetime import timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from store.table.rows import schema, to_arrow
from store.table.table import Table
from store.table.version import missing
from tests.store.examples import SPEC, document_rows

writes = st.tuples(
    st.sampled_from(["replace", "replace", "delete", "compact", "clean"]),
    st.sets(st.integers(0, 5), min_size=1, max_size=3),
)


@settings(max_examples=15)
@given(history=st.lists(writes, min_size=2, max_size=8))
def test_over_is_the_difference_of_all_rows(history):
    with tempfile.TemporaryDirectory() as folder:
        table = Table(f"{folder}/t.lance")
        table.create(SPEC)
        versions = [table.latest()]
        for number, (what, documents) in enumerate(history):
            apply(table, what, documents, number)
            versions.append(table.latest())
        for one in versions:
            for other in versions:
                expected = missing(one.row_ids, other.row_ids)
                np.testing.assert_array_equal(one.over(other), expected)


def apply(table: Table, what: str, documents: set[int], number: int) -> None:
    rows = [
        document_rows(np.random.default_rng(number), f"d{document}", chunks=2)
        for document in documents
    ]
    digests = [each.document.key.digest() for each in rows]
    match what:
        case "replace":
            table.replace(to_arrow(rows, SPEC), digests)
        case "delete":
            table.replace(schema(SPEC).empty_table(), digests)
        case "compact":
            table.compact(every_deletion=True)
        case _:
            # Versions of this test are a moment old, so that none is taken away.
            table.clean(timedelta(days=1), table.latest_number())


def test_little_is_read_of_a_large_table(monkeypatch, tmp_path):
    table = Table(str(tmp_path / "t.lance"))
    table.create(SPEC)
    for number in range(5):
        apply(table, "replace", {number}, number)
    before = table.latest()
    apply(table, "replace", {5}, 9)
    after, read = table.latest(), []
    whole = type(after)._row_ids
    monkeypatch.setattr(
        type(after),
        "_row_ids",
        lambda self, fragments: read.append(len(fragments)) or whole(self, fragments),
    )
    assert len(after.over(before)) == 2
    assert sorted(read) == [0, 1]
