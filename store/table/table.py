"""The truth: rows of one generation in a Lance table. The only importer of lance.

Rows are immutable under their stable row id. A write replaces whole documents in one commit;
every commit is a version, and any version can be read while newer ones are written.
"""

from __future__ import annotations

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import lance
import pyarrow as pa
from lance.commit import CommitConflictError
from lance.fragment import FragmentMetadata
from lance.optimize import Compaction, CompactionOptions

from m3.errors import DeadlineExceeded, StoredDataError
from store.spec import CollectionSpec
from store.table.failures import lance_errors
from store.table.rows import ROW_ID, schema, values
from store.table.sql import quoted
from store.table.version import Version

_STORAGE_VERSION = "2.1"
_CONFLICT_RETRIES = 50
_CONFLICT_SECONDS = 0.02
_RETRY_TIMEOUT = timedelta(minutes=5)
_ROW_ADDRESS = "_rowaddr"
"""A fragment's number, and in its low 32 bits the row's place in it."""
FRAGMENT_ROWS = 32_768
"""About 2 GB of passages: larger ones are not rewritten to take in more."""
_COMPACTED_AT_ONCE = 256
_STORAGE_OPTIONS = {"allow_http": "true"}
"""For object storage, whose address and credentials come from the AWS_* variables: unencrypted
only where AWS_ENDPOINT_URL says so."""
_SESSION = lance.Session(  # pyright: ignore[reportPrivateImportUsage]
    index_cache_size_bytes=16 * 2**20, metadata_cache_size_bytes=64 * 2**20
)
"""What a process remembers of its tables' files, which never change, so that a look into many of
them reads no footer twice. Lance's own budgets are 7 GB for every table that is opened."""
_CONFLICT = "Retryable commit conflict"

_log = logging.getLogger("m3.store")


class Table:
    """A Lance table at an address: a folder, or `s3://bucket/prefix`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def create(self, spec: CollectionSpec) -> int:
        """Make an empty table; returns its first version."""
        return self.create_of(schema(spec).empty_table())

    def create_of(self, rows: pa.Table | pa.RecordBatchReader) -> int:
        """Make a table of these rows in one commit, however many; returns its first version."""
        with lance_errors():
            dataset = lance.write_dataset(  # pyright: ignore[reportUnknownMemberType]
                rows,
                self.uri,
                mode="create",
                max_rows_per_file=FRAGMENT_ROWS,
                enable_stable_row_ids=True,
                data_storage_version=_STORAGE_VERSION,
                storage_options=_STORAGE_OPTIONS,
            )
        return dataset.version

    def _open(self, version: int | None = None) -> Any:
        return lance.dataset(
            self.uri, version=version, storage_options=_STORAGE_OPTIONS, session=_SESSION
        )

    def at(self, version: int) -> Version:
        """That version. Raises Corrupt where it cannot be read."""
        with lance_errors():
            return Version(self._open(version))

    def latest(self) -> Version:
        """The newest version, published or not."""
        with lance_errors():
            return Version(self._open())

    def latest_number(self) -> int:
        with lance_errors():
            return self._open().latest_version

    def committed_after(self, version: int) -> datetime | None:
        """When the first commit after that version was made, in local time; None without any."""
        with lance_errors():
            versions: list[dict[str, Any]] = self._open().versions()
        later = [each["timestamp"] for each in versions if each["version"] > version]
        return min(later, default=None)

    def replace(self, rows: pa.Table, digests: Sequence[str]) -> int:
        """In one commit: the rows of these documents go, the given rows come.

        Of what is there only the documents' digests are read, and files are changed only where
        they hold one of these, so that a write takes no more memory in a large table.
        """
        _log.debug("committing")
        with lance_errors():
            added = self._written(rows)
            version = _unopposed(lambda: self._replaced(added, digests))
        _log.debug("committed")
        return version

    def _written(self, rows: pa.Table) -> list[FragmentMetadata]:
        """Files with these rows, which are nobody's before a commit names them."""
        if not len(rows):
            return []
        return lance.fragment.write_fragments(  # pyright: ignore[reportUnknownMemberType]
            rows,
            self._of_this_format(rows.schema),
            max_rows_per_file=FRAGMENT_ROWS,
            storage_options=_STORAGE_OPTIONS,
        )

    def _replaced(self, added: list[FragmentMetadata], digests: Sequence[str]) -> int:
        dataset = self._open()
        emptied, changed = _without(dataset, digests)
        if not (added or emptied or changed):
            return dataset.version
        operation = lance.LanceOperation.Update(
            removed_fragment_ids=emptied, updated_fragments=changed, new_fragments=added
        )
        return lance.LanceDataset.commit(
            dataset, operation, read_version=dataset.version, storage_options=_STORAGE_OPTIONS
        ).version

    def _of_this_format(self, schema: pa.Schema) -> Any:
        """The table, with empty columns added where it was made before they were kept."""
        while True:
            dataset: Any = self._open()
            there: list[str] = dataset.schema.names
            fields: Any = schema
            lacking = [field for field in fields if field.name not in there]
            if not lacking:
                return dataset
            try:
                dataset.add_columns(lacking)
            except OSError as error:
                # Another writer may have been quicker with these, or with rows.
                if "conflict" not in str(error):
                    raise

    def fragments(self) -> int:
        """Files of rows that the newest version is made of."""
        with lance_errors():
            return len(self._open().get_fragments())

    def small_fragments(self) -> list[int]:
        """Rows of each that compacting would make larger: small ones beside small ones."""
        with lance_errors():
            rows: list[int] = [f.metadata.physical_rows for f in self._open().get_fragments()]
        small = [False, *(each < FRAGMENT_ROWS for each in rows), False]
        return [
            each
            for each, (before, own, after) in zip(
                rows, zip(small, small[1:], small[2:], strict=False), strict=True
            )
            if own and (before or after)
        ]

    def compact(self, *, every_deletion: bool = False, retries: int = _CONFLICT_RETRIES) -> bool:
        """Make small fragments into large ones; rows keep their ids, and there is a new version.

        Args:
            every_deletion: also rewrite a fragment that has lost but one row.
            retries: when a write of the same fragments came first.

        Returns:
            Whether it came through.
        """
        _log.debug("compacting")
        for left in reversed(range(retries + 1)):
            try:
                with lance_errors():
                    self._compact_once(0.0 if every_deletion else 0.1)
            except StoredDataError as error:
                if _CONFLICT not in str(error.__cause__):
                    raise
                if not left and retries:
                    raise DeadlineExceeded(
                        "the table is written to all the time: compact it when there are fewer "
                        "writers"
                    ) from error
            else:
                _log.debug("compacted")
                return True
        return False

    def _compact_once(self, threshold: float) -> None:
        """Where a write of the same fragments comes first, what was rewritten is removed again."""
        dataset = self._open()
        options: CompactionOptions = {
            "target_rows_per_fragment": FRAGMENT_ROWS,
            "materialize_deletions_threshold": threshold,
            "compaction_mode": "try_binary_copy",
            "batch_size": _COMPACTED_AT_ONCE,
            "num_threads": 1,
        }
        rewrites = [task.execute(dataset) for task in Compaction.plan(dataset, options).tasks]
        try:
            Compaction.commit(dataset, rewrites)
        except OSError as error:
            if _CONFLICT in str(error):
                # No version names these files: cleaning would leave deleted texts in them.
                _remove_files(dataset, [new for each in rewrites for new in each.new_fragments])
            raise

    def clean(self, retention: timedelta, before: int) -> int:
        """Take away versions under `before` that are older, with what only they hold.

        Returns:
            The bytes that were freed.
        """
        horizon = datetime.now() - retention  # local and naive, as lance's are
        with lance_errors():
            dataset: Any = self._open()
            versions = [
                each["version"]
                for each in dataset.versions()
                if each["version"] < before and each["timestamp"] <= horizon
            ]
            if not versions:
                return 0
            _log.debug("cleaning")
            cleaned = dataset.cleanup_old_versions(versions=versions)
            _log.debug("cleaned")
            return cleaned.bytes_removed

    def drop_overtaken(self, version: Version, digests: Sequence[str]) -> bool:
        """Take out all but the last write of each document in `version`; whether there was any.

        Two writers that insert one document at the same time do not conflict in Lance: both
        commits stand. Row ids grow with commits, so the last write has the highest.
        """
        overtaken = _overtaken(version.of_documents(digests, ["document", "write"]))
        if overtaken:
            condition = " or ".join(
                f"(document = '{digest}' and write in ({quoted(writes)}))"
                for digest, writes in overtaken.items()
            )
            with lance_errors():
                self._delete(self._open(), condition)
        return bool(overtaken)

    def _delete(self, dataset: Any, condition: str) -> None:
        dataset.delete(condition, conflict_retries=_CONFLICT_RETRIES, retry_timeout=_RETRY_TIMEOUT)


def _without(dataset: Any, digests: Sequence[str]) -> tuple[list[int], list[FragmentMetadata]]:
    """What takes these documents out: fragments that lose all of their rows, and some of them."""
    addresses = dataset.scanner(
        columns=[], filter=f"document in ({quoted(digests)})", with_row_address=True
    ).to_table()
    places: defaultdict[int, list[int]] = defaultdict(list)
    for address in values(addresses, _ROW_ADDRESS):
        places[address >> 32].append(address & 0xFFFFFFFF)
    left = {number: dataset.get_fragment(number).delete_rows(at) for number, at in places.items()}
    return (
        [number for number, fragment in left.items() if fragment is None],
        [fragment for fragment in left.values() if fragment is not None],
    )


def _remove_files(dataset: Any, fragments: Iterable[FragmentMetadata]) -> None:
    files = dataset.new_file_session()
    for fragment in fragments:
        for file in fragment.files:
            files.delete_file(f"data/{file.path}")


def _unopposed(commit: Callable[[], int]) -> int:
    """What `commit` returns at last: it is asked again where another changed the same files."""
    for attempt in range(1, _CONFLICT_RETRIES + 1):
        try:
            return commit()
        except CommitConflictError as error:
            if not error.retryable:
                raise
        time.sleep(random.random() * _CONFLICT_SECONDS * attempt)  # noqa: S311 - no secret
    return commit()


def _overtaken(rows: pa.Table) -> dict[str, list[str]]:
    """For each document with several writes, all of them but the last."""
    newest: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in rows.to_pylist():
        writes = newest[row["document"]]
        writes[row["write"]] = max(row[ROW_ID], writes.get(row["write"], -1))
    return {
        document: sorted(writes, key=lambda write: writes[write])[:-1]
        for document, writes in newest.items()
        if len(writes) > 1
    }
