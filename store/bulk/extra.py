"""pymilvus.bulk_writer, which needs more than pymilvus itself."""

from __future__ import annotations

import logging
from typing import Any

from m3.errors import InvalidConfiguration


def bulk_writer() -> Any:
    """The module. Raises InvalidConfiguration where the extra is not installed."""
    try:
        import pymilvus.bulk_writer as module  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InvalidConfiguration(
            "a bulk load needs an extra: pip install 'm3-retrieval[bulk]'"
        ) from error
    # It tells of every step in a log of its own, on stderr.
    logging.getLogger("pymilvus.bulk_writer").setLevel(logging.CRITICAL)
    return module
