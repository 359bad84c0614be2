"""What a caller sees of the collections: its own documents, and the counts of them."""

from __future__ import annotations

from m3.errors import NotFound
from m3.types import DocumentKey
from search.collections import Collections
from search.views import DocumentView, StatusView, document_view, status_view
from serving.keys.caller import Caller
from store.contract import Collection


def sight(caller: Caller) -> str | None:
    """The tenant whose collections a caller sees; None for all."""
    return None if caller.whole else caller.tenant


def status(collection: Collection, caller: Caller) -> StatusView:
    """Where tenants are told apart, counts are of the caller's own documents."""
    found = collection.status()
    all_its_own = caller.whole or found.spec.owner == caller.tenant
    return status_view(found, None if all_its_own else collection.counts(caller.tenant))


def document(collections: Collections, collection: str, key: DocumentKey) -> DocumentView:
    """Raises NotFound for no such document, and for no such collection of its tenant."""
    found = collections.open(collection, key.tenant).document(key)
    if found is None:
        raise no_document(key)
    return document_view(found)


def no_document(key: DocumentKey) -> NotFound:
    return NotFound(f"no document {key.id!r} from source {key.source!r}")
