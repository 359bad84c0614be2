from __future__ import annotations

from types import SimpleNamespace

import pytest

from commands import counting
from commands.counting import counted
from commands.ingest import progress
from commands.ingest.progress import display
from ingest.running.report import Report


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    # Theirs alone: other threads of this process go by the real one.
    for user in (counting, progress):
        monkeypatch.setattr(user, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_log_gets_a_line_every_few_seconds(
    clock: list[float], capsys: pytest.CaptureFixture[str]
):
    with display(1000) as screen:
        for second in range(1, 13):
            clock[0] += 1
            screen.update(
                Report(written=second * 10, chunks=second * 20, bytes=second * 50, seconds=second)
            )
        screen.note("failed: a.jsonl:7: [bold]")
    assert capsys.readouterr().err.splitlines() == [
        "50 documents (10/s), 100 chunks, 0 tokens/s, 25%, about 0:00:15 left",
        "100 documents (10/s), 200 chunks, 0 tokens/s, 50%, about 0:00:10 left",
        "failed: a.jsonl:7: [bold]",
    ]


def test_the_time_left_goes_by_the_latest_speed(
    clock: list[float], capsys: pytest.CaptureFixture[str]
):
    """A rerun passes over what is unchanged at once; the rest takes its time."""
    with display(1000) as screen:
        for done in (500, *range(501, 520)):
            clock[0] += 5
            screen.update(Report(unchanged=done, bytes=done, seconds=clock[0] - 100))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("50%, about 0:00:05 left")
    assert lines[-1].endswith("52%, about 0:40:05 left")


def test_without_a_total_nothing_is_guessed(clock: list[float], capsys: pytest.CaptureFixture[str]):
    with display(None) as screen:
        clock[0] += 6
        screen.update(Report(written=6, bytes=60, seconds=6))
    assert capsys.readouterr().err == "6 documents (1/s), 0 chunks, 0 tokens/s\n"


def test_parts_are_counted(clock: list[float], capsys: pytest.CaptureFixture[str]):
    with counted("writing [x]", 5_000) as advance:
        for _ in range(4):
            clock[0] += 3
            advance(1_000)
    assert capsys.readouterr().err.splitlines() == [
        "writing [x]: 2,000 of 5,000",
        "writing [x]: 4,000 of 5,000",
    ]
