"""What a store is, whatever it is made of: the values it keeps and the doors it has.

`store.collection` is the real one (Lance and Milvus), `store.memory` the exact one that
tests hold it against. Both pass `tests/store/contract.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain
from typing import Literal, Protocol

from m3.errors import M3Error
from m3.types import (
    Chunk,
    Codec,
    Context,
    Document,
    DocumentKey,
    EmbeddingBatch,
    Metadata,
    ModelInfo,
    Passages,
    Representation,
    Tenancy,
    context_of,
    model_text,
)
from scoring.fusion import Method, Weights
from store.filters import FieldType, Filter
from store.words import Words

Leg = Literal["dense", "sparse"]

MAX_DEPTH = 16_384
"""Results one search may ask of Milvus; the server's limit, held on the embedded engine too."""


@dataclass(frozen=True, slots=True)
class Chunking:
    """How documents of a collection are cut.

    Attributes:
        max_tokens: of one chunk as the model reads it, title and special tokens included.
        overlap: tokens that neighbouring chunks share.
        whole: one chunk per document, cut off at the model's limit.
        context: what the model reads before each chunk, a quarter of it at most.
    """

    max_tokens: int = 512
    overlap: int = 64
    whole: bool = False
    context: Context = "title"


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What a collection's rows are; fixed for a generation's life.

    Attributes:
        fingerprint: of the model whose vectors it holds; others are refused.
        dimension: of dense and ColBERT vectors.
        fields: metadata fields that may be filtered on, by name.
        owner: the one tenant whose own the collection is; None is shared by any number of them.
        pooling: tokens for which one ColBERT vector is kept; 1 keeps each token's own.
    """

    model: str
    fingerprint: str
    precision: str
    dimension: int
    codec: Codec = Codec.INT8
    chunking: Chunking = field(default_factory=Chunking)
    fields: Mapping[str, FieldType] = field(default_factory=dict[str, FieldType])
    stand_in: bool = False
    owner: str | None = None
    pooling: int = 1

    @property
    def tenancy(self) -> Tenancy:
        return "shared" if self.owner is None else "own"

    def admits(self, tenant: str) -> bool:
        """Whether documents may be this tenant's."""
        return self.owner in (None, tenant)

    @classmethod
    def of(
        cls,
        model: ModelInfo,
        *,
        codec: Codec,
        chunking: Chunking,
        fields: Mapping[str, FieldType] | None = None,
        owner: str | None = None,
        pooling: int = 1,
    ) -> CollectionSpec:
        """What rows of this model's vectors are."""
        return cls(
            model=model.id,
            fingerprint=model.fingerprint,
            precision=model.precision,
            dimension=model.dimension,
            codec=codec,
            chunking=chunking,
            fields=fields or {},
            stand_in=model.stand_in,
            owner=owner,
            pooling=pooling,
        )


@dataclass(frozen=True, slots=True)
class DocumentRows:
    """A document cut and embedded: chunk i has embedding i. Without chunks, it has no rows."""

    document: Document
    content_hash: str
    chunks: Sequence[Chunk]
    embeddings: Sequence[Representation]


@dataclass(frozen=True, slots=True)
class ChunkKey:
    """Which chunk a row is. `id` is `source/document#position`, unique within a tenant."""

    row: int
    tenant: str
    source: str
    document_id: str
    position: int

    @property
    def id(self) -> str:
        return f"{self.source}/{self.document_id}#{self.position}"

    @property
    def key(self) -> DocumentKey:
        return DocumentKey(self.tenant, self.source, self.document_id)


@dataclass(frozen=True, slots=True)
class StoredChunk(ChunkKey):
    """A chunk as it came back."""

    chunks: int
    start: int
    end: int
    heading: tuple[str, ...]
    page: int | None
    title: str
    text: str
    metadata: Metadata

    def near(self, reach: int) -> list[int]:
        """The positions up to `reach` before and after this one that its document has."""
        around = range(max(0, self.position - reach), min(self.chunks, self.position + reach + 1))
        return [position for position in around if position != self.position]

    def model_text(self, context: Context = "title") -> str:
        """What the model read, in a generation of that context."""
        return model_text(context_of(self.title, self.heading, context), self.text)


@dataclass(frozen=True, slots=True)
class Rows:
    """Chunks with their representations: chunk i is row i of `embeddings` (None without rows)."""

    chunks: Sequence[StoredChunk]
    embeddings: EmbeddingBatch | None


@dataclass(frozen=True, slots=True)
class CandidateRows:
    """What candidates are scored and ranked by; `Collection.chunks` has their texts.

    Attributes:
        chunks: which they are, in no particular order.
        batches: their representations in that order, as they were read: columns, and rows that
            lie apart. They are views where they can be, so nobody writes to them.
    """

    chunks: Sequence[ChunkKey]
    batches: Sequence[Passages]

    @property
    def embeddings(self) -> Iterator[Representation]:
        """Of each chunk."""
        return chain.from_iterable(self.batches)

    def by_row(self) -> dict[int, Representation]:
        """Each chunk's own, by its row."""
        return {c.row: own for c, own in zip(self.chunks, self.embeddings, strict=True)}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a search read: a published version of a table, whose name no other table ever has."""

    table: str
    version: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """What both legs found, from one snapshot.

    Attributes:
        rows: the union, each row once.
        legs: for each leg asked, its row ids, best first, at most `depth`.
        snapshot: what it was read from.
        failed: legs that were asked and did not answer, and why; they are not among `legs`.
    """

    rows: CandidateRows
    legs: Mapping[Leg, Sequence[int]]
    snapshot: Snapshot
    failed: Mapping[Leg, M3Error] = field(default_factory=dict[Leg, M3Error])


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as a whole: its chunks in order."""

    key: DocumentKey
    title: str
    metadata: Metadata
    content_hash: str
    chunks: Sequence[StoredChunk]


@dataclass(frozen=True, slots=True)
class Counts:
    """What one tenant has in the published version."""

    documents: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Defaults:
    """What searches of a collection use where they say nothing, for one model.

    Attributes:
        weights: by method, of those that fuse; a method that is not here has its own.
        rerank_depth: how many candidates get a ColBERT score; None: all of them.
    """

    weights: Mapping[Method, Weights] = field(default_factory=dict[Method, Weights])
    rerank_depth: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Counts of the published version, and what waits to be published.

    Attributes:
        unpublished: commits that the index does not have yet.
        lag_seconds: since the oldest of them was made, 0 where none waits.
        published_at: when a version was last published; None where none has been since the
            collection was made, or by a version that did not note it.
        defaults: saved for the model that serves.
    """

    name: str
    generation: int
    version: int
    documents: int
    chunks: int
    bytes: int
    unpublished: int
    lag_seconds: float
    published_at: datetime | None
    spec: CollectionSpec
    defaults: Defaults = field(default_factory=Defaults)


@dataclass(frozen=True, slots=True)
class Verification:
    """The difference between table and index, and what was done about it.

    Attributes:
        missing: rows alive in the table that the index lacks.
        stale: rows in the index that are not alive in the table.
        corrupt: row ids whose bytes do not match their checksum.
        repaired: whether the index now equals the table.
    """

    chunks: int
    missing: int
    stale: int
    corrupt: Sequence[int]
    repaired: bool

    @property
    def consistent(self) -> bool:
        return not self.corrupt and (self.repaired or not (self.missing or self.stale))


@dataclass(frozen=True, slots=True)
class Compaction:
    """What compacting came to: files of rows before and after, and bytes that were freed."""

    fragments_before: int
    fragments: int
    bytes_freed: int


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


@dataclass(frozen=True, slots=True)
class Generations:
    """The generations of a collection, by their numbers.

    Attributes:
        current: the one that serves.
        building: the one that is being made to serve next.
        previous: the one that served before, kept to go back to.
    """

    specs: Mapping[int, CollectionSpec]
    current: int
    building: int | None = None
    previous: int | None = None

    @property
    def leaving(self) -> list[int]:
        """Those in no role: taking them out has broken off, and may have taken their rows."""
        used = (self.current, self.building, self.previous)
        return [number for number in self.specs if number not in used]


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
