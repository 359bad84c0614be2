"""A worker's log lines, written by the server: one writer a file, however many processes."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any, cast

import structlog

from embedder.batching.wire import Head

EVENT = "log"


class Relay(logging.Handler):
    """Sends each record as a frame. Structlog must be set up to hand its events to `logging`."""

    def __init__(self, send: Callable[[Head], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`. A line that cannot be sent is lost, with its reader."""
        fields = _fields(record)
        if record.exc_info or fields.pop("exc_info", None):
            fields["exception"] = traceback.format_exc()
        # The server stamps its own.
        for name in ("timestamp", "level"):
            fields.pop(name, None)
        try:
            self._send(
                {"event": EVENT, "logger": record.name, "level": record.levelno, "fields": fields}
            )
        except OSError:
            return


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """An event of structlog's as it is, a message of anybody else's as the event."""
    said: Any = record.msg
    if isinstance(said, dict):
        return dict(cast("dict[str, Any]", said))
    return {"event": record.getMessage()}


def write(head: Head) -> None:
    """Log a line that a worker sent."""
    fields = dict(head["fields"])
    log = structlog.stdlib.get_logger(head["logger"])
    log.log(head["level"], str(fields.pop("event", "")), **fields)
