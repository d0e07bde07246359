"""The FastAPI app: routes, errors, what stands before them, and the plain pages that need nothing from elsewhere."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.middleware.cors import CORSMiddleware

from facefact import __version__
from facefact.apps.service.api import faces, health, openai, portraits
from facefact.apps.service.api.docs_page import docs_page, front_page
from facefact.apps.service.api.events import Streams
from facefact.apps.service.api.guard import Guard, Rules
from facefact.apps.service.api.job_routes import job_routes
from facefact.apps.service.api.metrics import Metrics
from facefact.apps.service.api.problems import ApiError, add_handlers, answer
from facefact.apps.service.api.service import Service
from facefact.apps.service.jobs import KINDS, DatabaseGone
from facefact.apps.service.store import StoreGone

ABOUT = """Portraits as jobs: what is asked for is written down before it is answered, and survives a restart.

Errors are `{"error": {"message", "type", "param", "code"}}`. With keys: `Authorization: Bearer KEY`."""
# What our own pages may load: nothing but their style.
PAGES_ONLY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def make_app(service: Service, *, lifespan: Lifespan | None = None, page: bool = False) -> FastAPI:
    """The app, which closes nothing of the service. lifespan: what runs around it. page: whether a page will be mounted
    at `/`; else a plain one stands there."""
    app = FastAPI(
        title="facefact",
        version=__version__,
        description=ABOUT,
        docs_url=None,  # those load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan or nothing,
    )
    app.state.service = service
    app.state.metrics = Metrics(service.jobs)
    app.state.streams = Streams(service.limits.streams)
    add_handlers(app)
    _add_unavailable(app)
    _add_security(app, service)
    for router in (portraits.router, *map(job_routes, KINDS), faces.router, openai.router, health.router):
        app.include_router(router)
    _add_pages(app, front=not page)
    _add_middleware(app, service)
    return app


@asynccontextmanager
async def nothing(app: FastAPI) -> AsyncIterator[None]:
    yield


def _add_unavailable(app: FastAPI) -> None:
    async def gone(request: Request, error: Any) -> Response:
        line = "the database or the store does not answer: nothing is lost, try again"
        return answer(ApiError(503, line, code="unavailable", headers={"Retry-After": "5"}))

    app.add_exception_handler(DatabaseGone, gone)
    app.add_exception_handler(StoreGone, gone)


def _add_security(app: FastAPI, service: Service) -> None:
    """What the description says of keys, where there are any."""
    if service.keys is None:
        return
    plain = app.openapi

    def described() -> dict[str, Any]:
        said = plain()
        schemes = said.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["key"] = {"type": "http", "scheme": "bearer"}
        said["security"] = [{"key": []}]
        return said

    app.openapi = described  # type: ignore[method-assign]


def _add_pages(app: FastAPI, *, front: bool) -> None:
    headers = {"Content-Security-Policy": PAGES_ONLY}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()), headers=headers)

    if front:

        @app.get("/", include_in_schema=False)
        async def plain() -> Response:
            return HTMLResponse(front_page(), headers=headers)


def _add_middleware(app: FastAPI, service: Service) -> None:
    """The last that is added is the first to see a request."""
    limits, metrics = service.limits, app.state.metrics
    app.add_middleware(Timed, metrics=metrics)
    rules = Rules(
        keys=service.keys,
        hosts=service.hosts,
        origins=service.origins,
        body_bytes=limits.body_bytes,
        body_seconds=limits.body_seconds,
    )
    app.add_middleware(Guard, rules=rules)
    if service.origins:
        names = ["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-API-Key"]
        methods = ["GET", "POST", "DELETE"]
        app.add_middleware(
            CORSMiddleware, allow_origins=list(service.origins), allow_methods=methods, allow_headers=names
        )


class Timed:
    """Middleware that tells the metrics of every request that a route knew."""

    def __init__(self, app: Any, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, status = time.monotonic(), 500

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.request(
                scope["method"] if route != "other" else "any", route, status, time.monotonic() - began
            )
