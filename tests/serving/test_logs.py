"""A log in a file: it rotates, also where several servers share it."""

from __future__ import annotations

import json
import logging
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from m3.errors import InvalidConfiguration
from m3.settings import Settings
from serving.logs import configure

LIMIT = 4096
WRITERS, LINES = 3, 200


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def settings_of(file: Path, **more: object) -> Settings:
    return Settings(log_file=file, log_file_bytes=LIMIT, **more)


def write(file: Path, name: int = 0, backups: int = 200) -> None:
    configure(settings_of(file, log_file_backups=backups))
    log = structlog.stdlib.get_logger("m3.test")
    for number in range(LINES):
        log.info("a line", writer=name, number=number)


def lines_of(folder: Path) -> list[dict[str, object]]:
    files = [file for file in folder.iterdir() if file.suffix != ".lock"]
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_a_file_is_begun_anew_and_the_oldest_falls_away(tmp_path):
    write(tmp_path / "deep/m3.log", backups=2)
    files = sorted(file.name for file in (tmp_path / "deep").iterdir())
    assert files == ["m3.log", "m3.log.1", "m3.log.2", "m3.log.lock"]
    assert all((tmp_path / "deep" / name).stat().st_size <= LIMIT for name in files)
    newest = (tmp_path / "deep/m3.log").read_text().splitlines()[-1]
    assert json.loads(newest)["number"] == LINES - 1


def test_what_a_caller_chose_commands_no_terminal(capsys):
    configure(Settings(log_format="console"))
    log = structlog.stdlib.get_logger("m3.test")
    log.info("request", path="/\x1b[2J\u202eé雪", status=404)
    logging.getLogger("a library").warning("%s is\nnothing", "\x9b2J")
    first, second = capsys.readouterr().err.splitlines()
    assert r"path=/\x1b[2J\u202eé雪" in first
    assert r"\x9b2J is\nnothing" in second


def test_processes_share_a_file_and_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=write, args=(tmp_path / "m3.log", name)) for name in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    lines = lines_of(tmp_path)
    assert {(line["writer"], line["number"]) for line in lines} == {
        (name, number) for name in range(WRITERS) for number in range(LINES)
    }
    assert len(lines) == WRITERS * LINES
    # Every file but the last is full: no process began one anew that another had just begun.
    sizes = [file.stat().st_size for file in tmp_path.glob("m3.log.*") if file.suffix != ".lock"]
    assert min(sizes) > LIMIT * 0.9
    assert max(sizes) <= LIMIT


def test_a_file_that_was_moved_away_is_let_go(tmp_path):
    configure(settings_of(tmp_path / "m3.log"))
    log = structlog.stdlib.get_logger("m3.test")
    log.info("before")
    (tmp_path / "m3.log").rename(tmp_path / "away")
    log.info("after")
    assert "after" in (tmp_path / "m3.log").read_text()
    assert "after" not in (tmp_path / "away").read_text()


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfiguration, match=r"M3_LOG_FILE: .* cannot be written"):
        configure(settings_of(tmp_path / "file/m3.log"))


def fail(key: str) -> None:
    raise ValueError(f"\x1b[2Jbad\n2026-01-01 [info] all is well {len(key)}")


@pytest.mark.parametrize("foreign", [False, True])
def test_a_traceback_shows_no_values_and_forges_no_line(
    capsys: pytest.CaptureFixture[str], foreign: bool
):
    configure(Settings(log_format="console"))
    try:
        fail("s3cret")
    except ValueError:
        if foreign:
            logging.getLogger("a library").exception("broke")
        else:
            structlog.stdlib.get_logger("m3.test").exception("broke")
    written = capsys.readouterr().err
    first, *rest = written.splitlines()
    assert "broke" in first
    assert any(r"ValueError: \x1b[2Jbad" in line for line in rest)
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b[2J" not in written
    assert "s3cret" not in written.replace('fail("s3cret")', "")
