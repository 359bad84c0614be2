"""Who a request is from and what it may: every route asks for it, and acts within its tenant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import Depends, Header, Request
from fastapi.dependencies.models import Dependant

from m3.errors import Forbidden, InvalidInput
from m3.types import DEFAULT_TENANT
from serving.keys.file import MAX_TENANT_BYTES
from serving.keys.key import EVERY_TENANT, SCOPES, Key, Scope, unauthorized

TENANT_HEADER = "X-Tenant"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request acts for.

    Attributes:
        name: of the key; None where no keys are configured.
        tenant: whose documents the request reads and writes.
        whole: whether what is counted over all tenants may be told: no keys are configured, or
            the key is for every tenant and the request names none.
    """

    name: str | None
    tenant: str
    scopes: frozenset[Scope]
    whole: bool


def admit(request: Request, scope: Scope) -> Caller:
    """Who asks, if they may.

    Raises:
        Unauthorized: keys are configured, and the request came in without one.
        Forbidden: the key lacks the scope, or names a tenant that is not its own.
        InvalidInput: a tenant that could not be.
    """
    state: dict[str, Any] = request.scope["state"]
    key: Key | None = state.get("key")
    state["needs"] = scope
    if key is None and request.app.state.keys is not None:
        raise unauthorized()
    if key is not None and scope not in key.scopes:
        raise Forbidden(f"this takes a key with the scope {scope}; {key.name!r} has it not")
    caller = state["caller"] = _caller(key, request.headers.get(TENANT_HEADER))
    return caller


def owner() -> Caller:
    """Whoever runs commands on the machine itself, and all callers where no keys are configured."""
    return Caller(None, DEFAULT_TENANT, frozenset(SCOPES), whole=True)


def _caller(key: Key | None, header: str | None) -> Caller:
    named = None if header is None else _decoded(header)
    if key is None:
        _own(DEFAULT_TENANT, named)
        return owner()
    if key.tenant != EVERY_TENANT:
        return Caller(key.name, _own(key.tenant, named), key.scopes, whole=False)
    return Caller(key.name, named or DEFAULT_TENANT, key.scopes, whole=named is None)


def _own(tenant: str, named: str | None) -> str:
    if named not in (None, tenant):
        raise Forbidden(f"{TENANT_HEADER} is for keys of every tenant: leave it out")
    return tenant


def _decoded(header: str) -> str:
    """Headers are ASCII, tenants any text: percent-encoded UTF-8."""
    try:
        tenant = unquote(header, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{TENANT_HEADER} is not percent-encoded UTF-8") from error
    if not 1 <= len(tenant.encode()) <= MAX_TENANT_BYTES or tenant == EVERY_TENANT:
        raise InvalidInput(f"{TENANT_HEADER} names one tenant, in 1 to {MAX_TENANT_BYTES} bytes")
    return tenant


_Tenant = Annotated[
    str | None,
    Header(
        alias=TENANT_HEADER,
        description="Whom to act for, percent-encoded; for keys of every tenant alone.",
    ),
]


async def _may_read(request: Request, tenant: _Tenant = None) -> Caller:  # noqa: ARG001 - told in the API's description
    return admit(request, "read")


async def _may_write(request: Request, tenant: _Tenant = None) -> Caller:  # noqa: ARG001
    return admit(request, "write")


async def _may_administer(request: Request, tenant: _Tenant = None) -> Caller:  # noqa: ARG001
    return admit(request, "admin")


MayRead = Annotated[Caller, Depends(_may_read)]
"""The caller of a route that reads; likewise of those that write, or make and drop collections."""
MayWrite = Annotated[Caller, Depends(_may_write)]
MayAdminister = Annotated[Caller, Depends(_may_administer)]

_NEEDED: Mapping[Callable[..., Any] | None, Scope] = {
    _may_read: "read",
    _may_write: "write",
    _may_administer: "admin",
}


def needed_by(route: Dependant) -> Scope | None:
    """The scope that a route asks for; None of one that asks for no caller."""
    for dependency in route.dependencies:
        scope = _NEEDED.get(dependency.call) or needed_by(dependency)
        if scope is not None:
            return scope
    return None
