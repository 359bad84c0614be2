"""Collections and their documents over HTTP."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AfterValidator

from m3.settings import Settings
from m3.types import DEFAULT_SOURCE, Document, DocumentKey
from search import seeing
from search.models import CollectionBody, DocumentBody
from search.parts import Parts, parts_of
from search.views import (
    CollectionsView,
    DocumentView,
    StatusView,
    collection_view,
)
from search.written import Written
from serving import openapi, strict
from serving.audit import about
from serving.keys.caller import MayAdminister, MayRead, MayWrite

_Parts = Annotated[Parts, Depends(parts_of)]


def _utf8(value: str) -> str:
    """Bytes that are not UTF-8 arrive as replacement characters: different ids would be one."""
    if "\ufffd" in value:
        raise ValueError("not UTF-8")
    return value


_DocumentId = Annotated[str, Path(description="May hold slashes."), AfterValidator(_utf8)]
_Source = Annotated[str, Query(description="Where the document is from."), AfterValidator(_utf8)]

_DOCUMENT = "/v1/collections/{collection}/documents/{document_id:path}"


def collection_routes(settings: Settings) -> APIRouter:
    """Listing, making, showing and dropping collections."""
    router = strict.router(tags=["collections"])

    @router.get("/v1/collections", summary="All collections")
    def show_all(caller: MayRead, parts: _Parts) -> CollectionsView:
        """Those that are another tenant's own are left out."""
        seen = parts.service.collections.seen_by(seeing.sight(caller))
        return CollectionsView([collection_view(each.name, each.spec) for each in seen])

    @router.post(
        "/v1/collections",
        summary="Make a collection",
        status_code=HTTPStatus.CREATED,
        responses=openapi.problems(409, 503),
    )
    async def make(
        request: Request, body: CollectionBody, caller: MayAdminister, parts: _Parts
    ) -> StatusView:
        """Empty, for the model that the embedder node serves now."""
        about(request, body.name)
        spec = body.spec(await parts.client.model(), settings.codec, caller.tenant)
        made = await asyncio.to_thread(parts.service.collections.create, body.name, spec)
        return await asyncio.to_thread(seeing.status, made, caller)

    @router.get(
        "/v1/collections/{collection}",
        summary="One collection and its counts",
        responses=openapi.problems(404),
    )
    def show(collection: str, caller: MayRead, parts: _Parts) -> StatusView:
        """Where tenants are told apart, counts are of the caller's own documents."""
        return seeing.status(
            parts.service.collections.open(collection, seeing.sight(caller)), caller
        )

    @router.delete(
        "/v1/collections/{collection}",
        summary="Drop a collection with all its documents",
        status_code=HTTPStatus.NO_CONTENT,
        response_class=Response,
        responses=openapi.problems(404, 503),
    )
    def drop(collection: str, caller: MayAdminister, parts: _Parts) -> None:
        """For all tenants that share it."""
        parts.service.collections.open(collection, seeing.sight(caller))
        parts.service.collections.drop(collection)

    del show_all, make, show, drop
    return router


def document_routes() -> APIRouter:
    """Writing, showing and deleting one document. An id may hold slashes."""
    router = strict.router(tags=["documents"])

    @router.put(
        _DOCUMENT,
        summary="Write a document",
        responses={
            201: {"description": "There was none under this id.", "model": Written},
            **openapi.problems(404, 409, 429, 503),
        },
    )
    async def write(
        *,
        collection: str,
        document_id: _DocumentId,
        body: DocumentBody,
        caller: MayWrite,
        parts: _Parts,
        response: Response,
        source: _Source = DEFAULT_SOURCE,
    ) -> Written:
        """Whole, in place of the one under its id; searchable when this is answered.

        An unchanged document is not embedded again.
        """
        document = Document(
            id=document_id,
            text=body.text,
            title=body.title,
            metadata=body.metadata,
            source=source,
            tenant=caller.tenant,
        )
        await asyncio.to_thread(parts.service.collections.open, collection, caller.tenant)
        written = await parts.writer.write(collection, document)
        if written.outcome == "created":
            response.status_code = HTTPStatus.CREATED
        return written

    @router.get(_DOCUMENT, summary="One document", responses=openapi.problems(404))
    def show(
        *,
        collection: str,
        document_id: _DocumentId,
        caller: MayRead,
        parts: _Parts,
        source: _Source = DEFAULT_SOURCE,
    ) -> DocumentView:
        key = DocumentKey(caller.tenant, source, document_id)
        return seeing.document(parts.service.collections, collection, key)

    @router.delete(
        _DOCUMENT,
        summary="Delete a document",
        status_code=HTTPStatus.NO_CONTENT,
        response_class=Response,
        responses=openapi.problems(404, 503),
    )
    def delete(
        *,
        collection: str,
        document_id: _DocumentId,
        caller: MayWrite,
        parts: _Parts,
        source: _Source = DEFAULT_SOURCE,
    ) -> None:
        key = DocumentKey(caller.tenant, source, document_id)
        if not parts.service.collections.open(collection, caller.tenant).delete([key]):
            raise seeing.no_document(key)

    del write, show, delete
    return router
