"""The error tree. Each class carries its code, its HTTP status and its exit code.

A message is one plain line that says what to do. Whatever is not an `M3Error` is a bug
(exit code 70, HTTP 500).
"""

from __future__ import annotations

from typing import ClassVar


class M3Error(Exception):
    """The root; never raised itself, but for what a server calls its own bug.

    Attributes:
        request_id: of the answer that an error came with, where it came over HTTP.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 70
    request_id: str | None = None

    @property
    def message(self) -> str:
        return str(self)


class InvalidInput(M3Error):
    """The caller's words are off; the message names the item and the reason."""

    code = "invalid_input"
    status = 400
    exit_code = 2


class InvalidConfiguration(M3Error):
    """A setting, a flag or a file given to us cannot be used."""

    code = "invalid_configuration"
    status = 500
    exit_code = 2


class InvalidCheckpoint(InvalidConfiguration):
    """A model folder lacks something, or holds what it should not."""

    code = "invalid_checkpoint"


class Unauthorized(M3Error):
    """A key is needed, and none that is known was sent."""

    code = "unauthorized"
    status = 401
    exit_code = 2


class Forbidden(M3Error):
    """The key is known, and is not for this."""

    code = "forbidden"
    status = 403
    exit_code = 2


class NotFound(M3Error):
    """No such collection, document or route."""

    code = "not_found"
    status = 404
    exit_code = 2


class AlreadyExists(M3Error):
    """A name is taken."""

    code = "already_exists"
    status = 409
    exit_code = 2


class PayloadTooLarge(InvalidInput):
    """A body or a text is over a limit; the message names both."""

    code = "payload_too_large"
    status = 413


class Overloaded(M3Error):
    """The queue is full: come back after `retry_after` seconds."""

    code = "overloaded"
    status = 429
    exit_code = 3

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(Overloaded):
    """The caller's key has had as much as it may have for now."""

    code = "rate_limited"


class Unreachable(M3Error):
    """Something needed does not answer."""

    code = "unreachable"
    status = 503
    exit_code = 3


class NotReady(Unreachable):
    """A server that is still loading, or already draining."""

    code = "not_ready"


class EmbedderUnreachable(Unreachable):
    """No embedder node answers at the given address."""

    code = "embedder_unreachable"


class MilvusUnreachable(Unreachable):
    """Milvus, embedded or server, does not answer."""

    code = "milvus_unreachable"


class MilvusRefused(Unreachable):
    """Milvus answers, but not with what was asked."""

    code = "milvus_refused"
    status = 502


class DeadlineExceeded(Unreachable):
    """The caller's deadline passed before there was an answer."""

    code = "deadline_exceeded"
    status = 504


class Overtaken(Unreachable):
    """Writers were quicker every time that a search read: try again."""

    code = "overtaken"


class TablesUnreachable(Unreachable):
    """The place that holds the tables does not answer, or not as it should."""

    code = "tables_unreachable"


class LeaseLost(Unreachable):
    """Another may publish by now what we had begun to: try again."""

    code = "lease_lost"


class StorageFull(Unreachable):
    """The disk under the state directory has no room left."""

    code = "storage_full"
    status = 507


class NotComputed(M3Error):
    """The model failed at a text; the message names the item."""

    code = "not_computed"


class NotFinite(NotComputed):
    """The model computed values that are not finite for a text."""

    code = "not_finite"


class WorkerLost(M3Error):
    """A process that computes ended, and a text or a model is why."""

    code = "worker_lost"


class NotSynced(M3Error):
    """What vanished from a source is still there: nothing was deleted, and the message says why."""

    code = "not_synced"
    status = 409
    exit_code = 1


class StoredDataError(M3Error):
    """Stored data is refused as inconsistent or corrupt."""

    code = "stored_data"
    status = 500
    exit_code = 4


class Corrupt(StoredDataError):
    """Bytes do not match their checksum or their format."""

    code = "corrupt"


class NewerFormat(StoredDataError):
    """Written by a newer version; older is read, newer is refused."""

    code = "newer_format"


class ModelMismatch(StoredDataError):
    """A collection holds vectors of another model."""

    code = "model_mismatch"
    status = 409


class SnapshotGone(M3Error):
    """What a search read is no longer kept: another generation serves, or it was cleaned away."""

    code = "snapshot_gone"
    status = 410
    exit_code = 3


class PageExpired(SnapshotGone):
    """The search that a page belongs to is no longer there: begin again at its first page."""

    code = "page_expired"


class GenerationChanged(Unreachable):
    """Another generation of a collection began to serve meanwhile: read its spec, write again."""

    code = "generation_changed"


class IndexMissing(StoredDataError):
    """Milvus lacks the index that the table says it has."""

    code = "index_missing"
    status = 503


def kind_of(code: str) -> type[M3Error] | None:
    """The class whose `code` a problem document carries, or None for one that is not ours."""
    known = [M3Error]
    for kind in known:
        known += kind.__subclasses__()
    return next((kind for kind in known if kind.code == code), None)
