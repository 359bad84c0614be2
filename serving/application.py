"""A FastAPI app with the manners both HTTP faces share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version

from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from m3.settings import Settings
from serving import openapi, problems
from serving.keys import KeyCheck, Open, read_digests
from serving.lifecycle import Lifecycle
from serving.limits import BodyLimit
from serving.metrics import HttpMetrics
from serving.observe import AnswerHeaders, Observe, Quiet
from serving.strict import StrictRoute, router

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
        error_shapes: by path or a route's template, error bodies for routes that follow another
            API's manners.
        is_open: paths that need no key where keys are configured; probes never do.
        is_quiet: paths whose requests are logged at debug, as those of probes are.

    Raises:
        InvalidConfiguration: a keys file that cannot be used.
    """
    app = FastAPI(
        title=title,
        description=description,
        version=version("m3-retrieval"),
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.router.route_class = StrictRoute
    app.state.error_shapes = dict(error_shapes or {})
    app.state.lifecycle = lifecycle or Lifecycle()
    metrics = HttpMetrics(registry or CollectorRegistry())
    app.add_middleware(BodyLimit, limit=settings.max_request_bytes)
    if settings.api_keys_file:
        app.add_middleware(KeyCheck, digests=read_digests(settings.api_keys_file), is_open=is_open)
    app.add_middleware(Observe, metrics=metrics, headers=answer_headers, is_quiet=is_quiet)
    problems.install(app)
    openapi.install(app, keys=settings.api_keys_file is not None)
    _add_probes(app, metrics.registry)
    return app


def lifecycle_of(app: FastAPI) -> Lifecycle:
    """The lifecycle the app was made with."""
    lifecycle = app.state.lifecycle
    assert isinstance(lifecycle, Lifecycle)  # noqa: S101 - set by `create_app` alone
    return lifecycle


def _add_probes(app: FastAPI, registry: CollectorRegistry) -> None:
    probes = router(tags=["probes"])

    @probes.get("/livez", summary="The process answers")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @probes.get("/readyz", summary="Requests are welcome", responses=openapi.problems(503))
    async def readyz() -> dict[str, str]:
        await lifecycle_of(app).ready()
        return {"status": "ready"}

    @probes.get("/metrics", summary="For Prometheus", response_class=Response)
    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type})

    del livez, readyz, metrics
    app.include_router(probes)
