"""Lance's failures, said by what they mean."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager

from m3.errors import Corrupt, StorageFull, StoredDataError, TablesUnreachable

_BUCKET_FAILED = "Generic S3 error"


@contextmanager
def lance_errors() -> Generator[None]:
    """Lance raises OSError and ValueError with its own words; say what they mean."""
    try:
        yield
    except OSError as error:
        text = str(error)
        if error.errno == errno.ENOSPC or "No space left" in text or "os error 28" in text:
            raise StorageFull(
                "the disk that holds the tables is full: free some room and run this again; "
                "what was published is safe"
            ) from error
        _refuse_unreachable(error)
        raise StoredDataError(f"the table cannot be used: {_first_line(text)}") from error
    except ValueError as error:
        _refuse_unreachable(error)
        raise Corrupt(f"the table cannot be read: {_first_line(str(error))}") from error


def _refuse_unreachable(error: Exception) -> None:
    """A bucket that does not answer is no stored data that is wrong."""
    if _BUCKET_FAILED in str(error):
        raise TablesUnreachable(
            f"the bucket of the tables does not answer as it should: {_first_line(str(error))}"
        ) from error


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "no reason given"
