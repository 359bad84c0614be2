"""A second signal ends a run at once, also while the run is ending, by the code of interrupts."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading

import pytest

SCRIPT = """
import atexit, os, sys, threading
import anyio
from commands.ingest.interrupting import Stop, interruptible
from commands.ingest.progress import display

def say(word):
    os.write(1, word.encode() + b"\\n")  # `print` is the bar's, on a terminal

def slow():
    say(PHASE)
    sys.stdin.readline()

async def main():
    stop = Stop()
    with display(None) as screen:
        with interruptible(stop, screen):
            say("running")
            await stop.event.wait()
            if PHASE == "writing":
                await anyio.to_thread.run_sync(slow)
        if PHASE == "closing":
            slow()

done = threading.Event()
if PHASE == "interpreter":
    atexit.register(slow)
if PHASE == "threads":
    threading.Thread(target=lambda: (done.wait(), slow())).start()
anyio.run(main)
done.set()
sys.exit(130)
"""


def started(phase: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """What it does in that phase takes until it is given a line."""
    return subprocess.Popen(
        [sys.executable, "-c", f"PHASE = {phase!r}\n{SCRIPT}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["writing", "closing", "threads"])
def test_the_second_signal_ends_a_run_that_is_ending(phase: str, number: signal.Signals):
    process = started(phase)
    assert line_of(process) == "running"
    process.send_signal(number)
    assert line_of(process) == phase
    process.send_signal(number)
    assert process.wait(120) == 130
    _, errors = process.communicate()
    assert errors.splitlines() == [
        "interrupted: what is embedded is written; once more ends at once",
        "ended at once; the same command goes on from there",
    ]


def test_a_second_signal_leaves_the_interpreters_own_end_alone():
    process = started("interpreter")
    assert line_of(process) == "running"
    process.send_signal(signal.SIGINT)
    assert line_of(process) == "interpreter"
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    _, errors = process.communicate("\n", timeout=120)
    assert (process.returncode, errors.count("\n")) == (130, 1)


def test_a_terminal_has_its_cursor_again():
    shown, end = pty.openpty()
    process = started("writing", end)
    os.close(end)
    screen = bytearray()
    reading = threading.Thread(target=read_all, args=(shown, screen))
    reading.start()
    assert line_of(process) == "running"
    process.send_signal(signal.SIGINT)
    assert line_of(process) == "writing"
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    reading.join(60)
    process.communicate()
    assert screen.rindex(b"\x1b[?25h") > screen.rindex(b"\x1b[?25l")
    assert b"ended at once" in screen


def read_all(file: int, into: bytearray) -> None:
    try:
        while part := os.read(file, 65_536):
            into += part
    except OSError:
        pass  # the other end is closed


def test_without_a_signal_the_handlers_are_as_they_were():
    code = """
import anyio, signal
from commands.ingest.interrupting import Stop, interruptible
from commands.ingest.progress import display
async def main():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with display(None) as screen, interruptible(Stop(), screen):
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
anyio.run(main)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
