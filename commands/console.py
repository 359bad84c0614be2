"""What the three commands share: errors in one plain line, exit codes, output for machines."""

from __future__ import annotations

import sys
import traceback
from typing import Any, NoReturn

import orjson
import typer

from m3.errors import M3Error

SOME_FAILED = 1
BUG = 70
INTERRUPTED = 130


def run(app: typer.Typer) -> NoReturn:
    """Run a command; whatever ends it becomes one line on stderr and an exit code.

    Typer itself answers wrong usage with 2 and an interrupt with 130.
    """
    try:
        app()
    except M3Error as error:
        _fail(error.message, error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last handler there is: a bug says where it was
        traceback.print_exception(error)
        _fail(f"this is a bug in m3-retrieval: {error!r}", BUG)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    line = " ".join(message.split())
    sys.stderr.write(f"error: {line}\n")
    sys.exit(code)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    content = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    sys.stdout.write(content.decode() + "\n")
