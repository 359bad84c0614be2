"""What can be asked of the API: each call as a value, which either client sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import orjson

from m3.errors import InvalidInput
from search.client.answers import BatchAnswer, Reranked, read_batch, read_nothing, reader_of
from search.client.options import CollectionOptions, Options, Reranking, Search
from search.response import SearchResponse
from search.views import CollectionsView, DocumentView, StatusView
from search.written import Written

T = TypeVar("T")

_search_response = reader_of(SearchResponse)
_reranked = reader_of(Reranked)
_document = reader_of(DocumentView)
_written = reader_of(Written)
_collections = reader_of(CollectionsView)
_status = reader_of(StatusView)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request.

    Attributes:
        read: the answer's body as a value.
        content: JSON, or nothing.
        changes: whether it changes something, so that one that may have arrived is not sent again.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    content: bytes | None = None
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    changes: bool = False


def search(query: str, collection: str, options: Options) -> Call[SearchResponse]:
    body = {**options, "query": query, "collection": collection}
    return Call("POST", "/v1/search", _search_response, _json(body))


def similar(
    document_id: str, collection: str, source: str, options: Options
) -> Call[SearchResponse]:
    body = {**options, "document_id": document_id, "source": source, "collection": collection}
    return Call("POST", "/v1/similar", _search_response, _json(body))


def search_batch(searches: Sequence[Search]) -> Call[list[BatchAnswer]]:
    return Call("POST", "/v1/search/batch", read_batch, _json({"searches": searches}))


def rerank(query: str, documents: Sequence[str], options: Reranking) -> Call[Reranked]:
    body = {**options, "query": query, "documents": documents}
    return Call("POST", "/v1/rerank", _reranked, _json(body))


def get_document(collection: str, id_: str, source: str) -> Call[DocumentView]:
    return Call("GET", _document_path(collection, id_), _document, params={"source": source})


def put_document(collection: str, id_: str, source: str, body: Mapping[str, Any]) -> Call[Written]:
    return Call(
        "PUT",
        _document_path(collection, id_),
        _written,
        _json(body),
        {"source": source},
        changes=True,
    )


def delete_document(collection: str, id_: str, source: str) -> Call[None]:
    path = _document_path(collection, id_)
    return Call("DELETE", path, read_nothing, params={"source": source}, changes=True)


def list_collections() -> Call[CollectionsView]:
    return Call("GET", "/v1/collections", _collections)


def get_collection(name: str) -> Call[StatusView]:
    return Call("GET", _collection_path(name), _status)


def create_collection(name: str, options: CollectionOptions) -> Call[StatusView]:
    body = {**options, "name": name}
    return Call("POST", "/v1/collections", _status, _json(body), changes=True)


def delete_collection(name: str) -> Call[None]:
    return Call("DELETE", _collection_path(name), read_nothing, changes=True)


def after(page: SearchResponse, options: Options) -> Options | None:
    """The options of the same search for the hits after a page; None after the last."""
    if page.page is None:
        return None
    going_on: Options = {**options, "page": page.page}
    going_on.pop("offset", None)
    return going_on


def _collection_path(name: str) -> str:
    return f"/v1/collections/{_segment(name)}"


def _document_path(collection: str, id_: str) -> str:
    """An id's slashes are those of the path."""
    return f"{_collection_path(collection)}/documents/{'/'.join(map(_segment, id_.split('/')))}"


def _segment(text: str) -> str:
    """Dots that mean a folder elsewhere are part of a name here."""
    try:
        return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{text!r} is not a valid text") from error


def _json(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body, default=_plain)
    except TypeError as error:
        raise InvalidInput(f"this cannot be sent as JSON: {error}") from error


def _plain(value: Any) -> Any:
    """Mappings and sequences that are neither dicts nor lists."""
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, Sequence):
        return list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    raise TypeError(f"{type(value).__name__} is not JSON")
