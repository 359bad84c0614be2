"""Logs: one structured line per event on stderr or in a file, for people or as JSON lines."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

import structlog
from structlog.types import EventDict, ExcInfo, Processor, WrappedLogger

from m3 import tracing
from m3.errors import InvalidConfiguration
from m3.settings import Settings

_QUIET = ("httpx", "httpcore", "urllib3", "filelock", "mcp", "uvicorn.error")
"""Libraries that tell at info what is of use only when debugging."""


def configure(settings: Settings) -> None:
    """Send structlog's lines and the standard library's the same way.

    Raises:
        InvalidConfiguration: a log file that cannot be written.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        # A line that is not wanted costs nothing.
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = _handler(settings)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(settings),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in _QUIET:
        quiet = logging.WARNING if settings.log_level == "info" else logging.NOTSET
        logging.getLogger(name).setLevel(quiet)


def _add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The trace that a line belongs to, beside the request's id."""
    if (trace_id := tracing.trace_id()) is not None:
        event["trace_id"] = trace_id
    return event


def _escaped(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Callers choose paths, names and ids: none may command a terminal or forge a line."""
    return {
        name: _printable(value) if isinstance(value, str) else value
        for name, value in event.items()
    }


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def _write_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    """Without the values of variables, which may be secrets; set in, so that none forges a line."""
    for line in "".join(traceback.format_exception(*exc_info)).rstrip().split("\n"):
        stream.write(f"\n    {_printable(line)}")


class _SharedFile(RotatingFileHandler):
    """A rotating file for every server that has it: one writes at a time, and each follows."""

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = path.with_name(f"{path.name}.lock").open("w")
        super().__init__(path, maxBytes=max_bytes, backupCount=backups, encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        with self._alone():
            self._follow()
            super().emit(record)

    def close(self) -> None:
        super().close()
        self._lock_file.close()

    @contextmanager
    def _alone(self) -> Generator[None]:
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def _follow(self) -> None:
        """Let go of a file that another process, or a person, has moved away."""
        if self.stream is None:
            return
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self.stream.fileno()), Path(self.baseFilename).stat()):
                return
        self.stream.close()
        self.stream = self._open()


def _handler(settings: Settings) -> logging.Handler:
    if settings.log_file is None:
        return logging.StreamHandler(sys.stderr)
    try:
        return _SharedFile(settings.log_file, settings.log_file_bytes, settings.log_file_backups)
    except OSError as error:
        raise InvalidConfiguration(
            f"M3_LOG_FILE: {settings.log_file} cannot be written: {error.strerror}"
        ) from error


def _renderers(settings: Settings) -> list[Processor]:
    terminal = settings.log_file is None and sys.stderr.isatty()
    if settings.log_format == "console" or (settings.log_format == "auto" and terminal):
        return [
            _escaped,
            structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=_write_traceback),
        ]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
