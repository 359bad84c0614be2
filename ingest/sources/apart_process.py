"""The process of `apart`: gets files and answers with what a parser makes of each.

A file is its name and its pieces, each after its length, an empty piece last; an answer is JSON
after its length.
"""

from __future__ import annotations

import importlib
import io
import os
import resource
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, TypeAlias, cast

import orjson

from m3.errors import M3Error

Read: TypeAlias = Callable[[BinaryIO, str], Mapping[str, Any]]
"""A parser: a file and its name to JSON values. Whatever it raises is the file's fault."""

LENGTH = struct.Struct(">I")


def write(pipe: BinaryIO, data: bytes) -> None:
    """Some bytes after their length."""
    pipe.write(LENGTH.pack(len(data)))
    pipe.write(data)


def _main(parser: str, limit: int) -> None:
    """The process: one file after another until there is no more input."""
    if limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    files, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # A parser that prints must not print into the answers.
    os.dup2(2, 1)
    module, _, function = parser.partition(":")
    read = cast(Read, getattr(importlib.import_module(module), function))
    while header := files.read(LENGTH.size):
        name = files.read(LENGTH.unpack(header)[0]).decode()
        write(answers, orjson.dumps(_attempt(read, _received_file(files), name)))
        answers.flush()


def _received_file(files: BinaryIO) -> BinaryIO:
    data = io.BytesIO()
    while length := LENGTH.unpack(files.read(LENGTH.size))[0]:
        data.write(files.read(length))
    data.seek(0)
    return data


def _attempt(read: Read, data: BinaryIO, name: str) -> Mapping[str, Any]:
    try:
        return read(data, name)
    except M3Error as error:
        return {"error": error.message}
    except MemoryError:
        return {"error": "its parser ran out of memory"}
    except Exception as error:  # noqa: BLE001 - parsers raise anything at a broken file
        return {"error": f"cannot be read: {str(error) or type(error).__name__}"}


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
