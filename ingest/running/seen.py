"""What a run has met before, in bounded memory: a run may bring more documents than fit."""

from __future__ import annotations

import sqlite3

from ingest.sources import Place
from m3.errors import StorageFull

_CACHE_KIB = 32 * 1024


class Seen:
    """Where each key of a run was met first.

    A private database that SQLite keeps in its cache, and beyond that in a temporary file that
    goes with the process. For one thread at a time.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "CREATE TABLE seen (key BLOB PRIMARY KEY, path BLOB, line INTEGER) WITHOUT ROWID",
            # Never committed: nothing is kept.
            "BEGIN",
        ):
            self._database.execute(statement)

    def first(self, key: bytes, place: Place) -> Place | None:
        """Where the key was met before; None remembers this place.

        Raises:
            StorageFull: the folder for temporary files has no room.
        """
        try:
            added = self._database.execute(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)",
                (key, place.path.encode("utf-8", "surrogatepass"), place.line),
            )
        except sqlite3.OperationalError as error:
            raise StorageFull(
                "the folder for temporary files is full: free some room, or set SQLITE_TMPDIR "
                f"to another ({error})"
            ) from error
        if added.rowcount:
            return None
        path, line = self._database.execute(
            "SELECT path, line FROM seen WHERE key = ?", (key,)
        ).fetchone()
        return Place(path.decode("utf-8", "surrogatepass"), line)
