"""A FastAPI app with the manners both HTTP faces share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from m3.errors import M3Error
from m3.settings import Settings
from serving import openapi, problems
from serving.audit import Audit, AuditFile
from serving.hosts import HostCheck
from serving.keys.caller import TENANT_HEADER
from serving.keys.check import KeyCheck, Open
from serving.keys.rates import Rates
from serving.keys.ring import KeyRing
from serving.lifecycle import Lifecycle
from serving.limits import BodyLimit
from serving.metrics import HttpMetrics
from serving.observe import AnswerHeaders, Observe, Quiet
from serving.strict import StrictRoute, router

_CORS_HEADERS = (
    *("Authorization", "Content-Type", "X-Request-Id", TENANT_HEADER),
    *("Mcp-Protocol-Version", "Mcp-Method", "Mcp-Name"),
)
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def _none(_: str) -> bool:
    return False


def create_app(
    *,
    title: str,
    description: str,
    settings: Settings,
    lifespan: Lifespan | None = None,
    lifecycle: Lifecycle | None = None,
    registry: CollectorRegistry | None = None,
    answer_headers: AnswerHeaders = dict[str, str],
    error_shapes: Mapping[str, problems.ErrorShape] | None = None,
    is_open: Open = _none,
    is_quiet: Quiet = _none,
) -> FastAPI:
    """An app with request ids, an access log, problem documents, limits, keys and probes.

    Routes belong on a `serving.strict.router()`, which reads JSON strictly.

    Args:
        lifecycle: what `/readyz` answers from; ready from the start unless it has a check.
        registry: where the caller's own metrics are; `/metrics` shows it.
        answer_headers: headers that every answer carries, asked at each.
        error_shapes: by a route's template, error bodies for routes that follow another API's
            manners.
        is_open: paths that need no key where keys are configured; probes never do.
        is_quiet: paths whose requests are logged at debug, as those of probes are.

    Raises:
        InvalidConfiguration: a keys file or an audit file that cannot be used.
    """
    lifecycle = lifecycle or Lifecycle()
    app = FastAPI(
        title=title,
        description=description,
        version=version("m3-retrieval"),
        lifespan=_told(lifespan, lifecycle) if lifespan else None,
        redirect_slashes=False,
    )
    app.router.route_class = StrictRoute
    app.state.error_shapes = problems.ErrorShapes(error_shapes or {})
    app.state.lifecycle = lifecycle
    app.state.any_host = False
    metrics = HttpMetrics(registry or CollectorRegistry())
    keys = app.state.keys = KeyRing.of(settings)
    app.add_middleware(
        BodyLimit, limit=settings.max_request_bytes, seconds=settings.max_request_seconds
    )
    if keys is not None:
        rates = Rates(metrics.registry)
        app.add_middleware(KeyCheck, keys=keys, rates=rates, is_open=is_open)
    else:
        app.add_middleware(HostCheck, origins=settings.allowed_origins or ())
    audit_file = AuditFile(settings.audit_file) if settings.audit_file else None
    app.add_middleware(Audit, file=audit_file)
    app.add_middleware(Observe, metrics=metrics, headers=answer_headers, is_quiet=is_quiet)
    if settings.allowed_origins:
        _allow(app, settings.allowed_origins)
    problems.install(app)
    openapi.install(app, keys=keys is not None)
    _add_probes(app, metrics.registry)
    return app


def _told(lifespan: Lifespan, lifecycle: Lifecycle) -> Lifespan:
    """What cannot be opened ends the server with its reason, where uvicorn would show a trace."""

    @asynccontextmanager
    async def told(app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as opened:
            try:
                await opened.enter_async_context(lifespan(app))
            except M3Error as error:
                lifecycle.fail(error)
            yield

    return told


def _allow(app: FastAPI, origins: Sequence[str]) -> None:
    """Outermost: a browser asks first, without a key, and shows no error that lacks the headers."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["*"],
        allow_headers=_CORS_HEADERS,
        expose_headers=["X-Request-Id", "Retry-After"],
    )


def keys_of(app: FastAPI) -> KeyRing | None:
    """The keys the app asks for; None where it asks for none."""
    keys = app.state.keys
    assert keys is None or isinstance(keys, KeyRing)  # noqa: S101 - set by `create_app` alone
    return keys


def lifecycle_of(app: FastAPI) -> Lifecycle:
    """The lifecycle the app was made with."""
    lifecycle = app.state.lifecycle
    assert isinstance(lifecycle, Lifecycle)  # noqa: S101 - set by `create_app` alone
    return lifecycle


def _add_probes(app: FastAPI, registry: CollectorRegistry) -> None:
    """By HEAD too, as some load balancers and monitors ask; described once."""
    probes = router(tags=["probes"])

    @probes.head("/livez", include_in_schema=False)
    @probes.get("/livez", summary="The process answers")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @probes.head("/readyz", include_in_schema=False)
    @probes.get("/readyz", summary="Requests are welcome", responses=openapi.problems(503))
    async def readyz() -> dict[str, str]:
        await lifecycle_of(app).ready()
        return {"status": "ready"}

    @probes.head("/metrics", include_in_schema=False)
    @probes.get("/metrics", summary="For Prometheus", response_class=Response)
    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    del livez, readyz, metrics
    app.include_router(probes)
