from __future__ import annotations

import pytest

from ingest.running.limits import MaxErrors
from ingest.running.report import Report
from m3.errors import InvalidInput


@pytest.mark.parametrize(
    ("given", "read", "most"), [("0", 5, 0), ("7", 10, 7), ("10%", 1000, 100), ("5%", 10, 5)]
)
def test_more_than_the_limit_is_too_many(given: str, read: int, most: int):
    limit = MaxErrors.parsed(given)
    assert not limit.exceeded(Report(documents=read, failed=most))
    assert limit.exceeded(Report(documents=read, failed=most + 1))


@pytest.mark.parametrize("given", ["", "-1", "x", "101%", "1.5", "%", "\u0663"])
def test_other_limits_are_refused(given: str):
    with pytest.raises(InvalidInput, match="expected a number, or 0% to 100%"):
        MaxErrors.parsed(given)
