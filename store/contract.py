"""What a store does, whatever it is made of.

`store.collection` is the real one (Lance and Milvus), `store.memory` the exact one that
tests hold it against. Both pass `tests/store/contract.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Protocol

from m3.types import Document, DocumentKey, Representation
from store.candidates import CandidateRows, Candidates, Leg, Snapshot
from store.chunks import DocumentRows, Rows, StoredChunk, StoredDocument
from store.filters import Filter
from store.reports import Compaction, Counts, Defaults, Generations, Status, Verification
from store.spec import CollectionSpec
from store.words import Words


class Collection(Protocol):
    """Documents with their representations. Documents change whole; readers see a snapshot.

    All methods may be called from any thread. They raise `MilvusUnreachable`, `IndexMissing`,
    `StorageFull` and `Corrupt` beside what they name themselves, and `NotFound` when asked for
    anything of a tenant whose the collection is not.
    """

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> CollectionSpec: ...

    def replace(
        self, documents: Sequence[DocumentRows], spec: CollectionSpec | None = None
    ) -> None:
        """Make these the documents under their keys: each whole, visible when this returns.

        Args:
            spec: what they were cut and embedded for.

        Raises:
            InvalidInput: a key twice, metadata that does not fit the declared fields, or a tenant
                whose the collection is not.
            GenerationChanged: a generation of another spec serves, or came to serve meanwhile:
                cut and embed for that one.
        """
        ...

    def delete(self, keys: Sequence[DocumentKey]) -> int:
        """Take documents out; those that are not there are passed over. Returns how many were."""
        ...

    def settle(self) -> None:
        """Finish what waits for readers to move on: rows replaced a moment ago leave the index."""
        ...

    def tidy(self) -> None:
        """Make few large files of small ones where there are many; readers and writers go on."""
        ...

    def compact(self, retention: timedelta) -> Compaction:
        """Make many small files few large ones, and take away versions older than `retention`.

        Readers and writers go on. A reader that holds a version for longer than that fails.

        Raises:
            DeadlineExceeded: writers were quicker every time.
        """
        ...

    def purge(self) -> Compaction:
        """Erase what was deleted or replaced before this began: its bytes leave table and index.

        Takes some seconds at least, as long as readers may be reading it.

        Raises:
            DeadlineExceeded: as `compact`.
        """
        ...

    def content_hashes(self, keys: Iterable[DocumentKey]) -> dict[DocumentKey, str]:
        """The content hash of each of these documents that is there."""
        ...

    def keys(self, tenant: str, source: str) -> list[DocumentKey]:
        """Every document of a source, in no order. Of the newest version, published or not."""
        ...

    def hashes(self) -> Iterator[Mapping[DocumentKey, str]]:
        """Every document's content hash, some thousand at a time, of one newest version."""
        ...

    def changed(self, since: Snapshot) -> list[DocumentKey]:
        """Documents that came, went or were replaced after a snapshot, up to the newest version.

        Raises:
            SnapshotGone: it is kept no longer, or another generation serves.
        """
        ...

    def find(self, filter: Filter, tenant: str) -> list[DocumentKey]:
        """The tenant's documents that meet a filter, in no order.

        Raises:
            InvalidInput: a filter over fields that are not declared, or of the wrong type.
        """
        ...

    def embeddings_by_text(self, keys: Sequence[DocumentKey]) -> dict[str, Representation]:
        """These documents' stored vectors by `text_hash` of what the model read."""
        ...

    def document(self, key: DocumentKey) -> StoredDocument | None:
        """One document of one published version, whole, or None."""
        ...

    def originals(self, keys: Sequence[DocumentKey]) -> list[Document]:
        """Documents as they were given, texts whole, so that they can be cut anew; by no order.

        Of the newest version, published or not. Those that are not there are passed over.

        Raises:
            InvalidInput: one was stored by a version that did not keep texts.
        """
        ...

    def scan(self, tenant: str, source: str) -> Iterator[Rows]:
        """Every chunk of a source, some at a time and in no order, of one newest version."""
        ...

    def candidates(
        self,
        query: Representation,
        *,
        legs: Sequence[Leg],
        depth: int,
        tenant: str,
        filter: Filter | None = None,
        words: Words | None = None,
        spec: CollectionSpec | None = None,
        within: float | None = None,
        codes: bool = True,
    ) -> Candidates:
        """The `depth` best rows of each leg by exact inner product, and the union's rows.

        A query without sparse terms finds nothing on the sparse leg. Every row is of
        `tenant`, meets `filter`, has the `words`, and is alive in the snapshot. A leg that
        fails while another one answers is left out, and `failed` says so.

        Args:
            spec: what the query was embedded for.
            within: seconds that the legs have, less than a call of Milvus may take otherwise.
            codes: whether rows come with token vectors, most of their bytes. Without, they have
                no tokens; `rows` has those that turn out to be wanted whole.

        Raises:
            DeadlineExceeded: no leg answered within that.
            Overtaken: it took so long, each time, that what was written meanwhile got ahead of it.
            InvalidInput: a filter over fields that are not declared, or of the wrong type.
            GenerationChanged: a generation of another spec serves now.
        """
        ...

    def rows(self, ids: Sequence[int], *, tenant: str, snapshot: Snapshot) -> CandidateRows:
        """These rows as they were in a snapshot.

        Those that it does not have, or that are another tenant's, are passed over.

        Raises:
            SnapshotGone: it is kept no longer, or another generation serves.
        """
        ...

    def chunks(
        self, ids: Sequence[int], *, tenant: str, snapshot: Snapshot
    ) -> dict[int, StoredChunk]:
        """The texts of these rows, by row, as `rows` has them; fewer bytes are read.

        Raises:
            SnapshotGone: as `rows`.
        """
        ...

    def around(
        self, chunks: Sequence[StoredChunk], reach: int, snapshot: Snapshot
    ) -> dict[int, list[StoredChunk]]:
        """For each chunk, by its row: up to `reach` of its document before and after it, in order.

        Raises:
            SnapshotGone: as `rows`.
        """
        ...

    def snapshot(self) -> Snapshot:
        """What a search would read now."""
        ...

    def defaults(self, spec: CollectionSpec) -> Defaults:
        """What was saved for searches that say nothing, for the model of `spec`.

        They belong to a model: those of another one wait until it serves again.
        """
        ...

    def save_defaults(self, defaults: Defaults, spec: CollectionSpec) -> None:
        """Have searches use these, in place of all that was saved for the model of `spec`.

        Raises:
            InvalidInput: weights of a method that does not fuse, or a depth that is none.
        """
        ...

    def status(self) -> Status: ...

    def counts(self, tenant: str) -> Counts:
        """Of one tenant alone; those of `status` are of all tenants together."""
        ...

    def verify(self, *, repair: bool = False) -> Verification:
        """Compare index and table row by row, and checksums; `repair` makes the index equal."""
        ...

    def close(self) -> None: ...


class Store(Protocol):
    """Collections by name."""

    def create(self, name: str, spec: CollectionSpec) -> Collection:
        """Raises AlreadyExists, or InvalidInput for a name that is not allowed."""
        ...

    def open(self, name: str, generation: int | None = None) -> Collection:
        """The collection as it serves, whichever generation that is; or one generation of it.

        Raises:
            NotFound: no such collection or generation.
        """
        ...

    def generations(self, name: str) -> Generations:
        """Raises NotFound."""
        ...

    def begin(self, name: str, spec: CollectionSpec) -> int:
        """Make an empty generation beside the one that serves; returns its number.

        Raises:
            AlreadyExists: one is being made already.
        """
        ...

    def closing(self, name: str, to: int) -> AbstractContextManager[None]:
        """While this is held, the serving generation acknowledges no more writes: they wait.

        What it had acknowledged by then is in its newest version, to be copied before `serve`.

        Raises:
            AlreadyExists: another switch is under way.
        """
        ...

    def serve(self, name: str, number: int) -> None:
        """Have a generation serve from now on; called within `closing`. It is one atomic step.

        The one that served is kept as the previous one, in place of an earlier one. Where that
        cannot be taken out, it is left, in no role, for the next switch, purge or `discard`.

        Raises:
            DeadlineExceeded: `closing` was held too long, and writers have gone on.
        """
        ...

    def discard(self, name: str, number: int) -> None:
        """Take a generation out that does not serve, table and index; what broke off is done.

        Raises:
            InvalidInput: it serves. NotFound.
        """
        ...

    def names(self) -> list[str]: ...

    def drop(self, name: str) -> None:
        """Take a collection out, table and index. Raises NotFound."""
        ...

    def close(self) -> None: ...
