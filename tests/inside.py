"""The commands in this process: as installed, less the second that their imports take."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from unittest import mock

ENTRIES = {"m3-embedder": "embedder", "m3-ingest": "ingest", "m3-search": "search"}
"""Command to module of `commands`."""


def inside(
    command: str, *arguments: object, environment: Mapping[str, str], stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """What `command` answers: its own entry point, in an environment of just `environment`.

    Signals, terminals and limits of a process are not this one's: start a process for those.
    """
    main = import_module(f"commands.{ENTRIES[command]}").main
    words = [command, *map(str, arguments)]
    output, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8")),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
    said = (_all_of(stream) for stream in (output, errors))
    assert isinstance(code, int), code
    return subprocess.CompletedProcess(words, code, *said)


def _all_of(stream: io.TextIOWrapper[io.BytesIO]) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()
