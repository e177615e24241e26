"""The HTTP application: its routes, and what every request passes before them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from provisioner import __version__
from provisioner.serve import page
from provisioner.serve.backend import Backend
from provisioner.serve.http import apis, docs, failures, metrics, probes, tracing
from provisioner.serve.http.access_log import AccessLog
from provisioner.serve.http.admission import Admission, Gate
from provisioner.serve.http.auth import Auth
from provisioner.serve.http.body import SPARE, Body
from provisioner.serve.http.counted import Counted
from provisioner.serve.http.ids import Ids
from provisioner.serve.http.openapi import completed
from provisioner.serve.http.pieces import Pieces
from provisioner.serve.http.routes import Paths
from provisioner.serve.http.tracing import Traces, Tracing
from provisioner.serve.instruments import Instruments
from provisioner.serve.settings import Settings

_OPEN = ("/health", "/healthz", "/readyz", "/api/health", "/metrics")


class Application(FastAPI):
    """An ASGI application.

    Attributes:
        gate: what is at work; `gate.drain()` once the server is to end.
        instruments: what is measured.
        public: what may be looked at without the token.
        tracing: None where there is none. Its `close` exports what is left; the end of the process does so too.
    """

    gate: Gate
    instruments: Instruments
    public: Paths
    tracing: Tracing | None

    def openapi(self) -> dict[str, Any]:
        """The document, with the refusals that come before the routes."""
        if not self.openapi_schema:
            self.openapi_schema = completed(super().openapi(), self.public)
        return self.openapi_schema


def create_app(backend: Backend, settings: Settings, instruments: Instruments) -> Application:
    """The application in front of a backend, which need not be ready yet. Starts nothing; once for each Instruments."""
    app = _empty()
    app.gate, app.tracing = Gate(settings.limits), tracing.configured(os.environ)
    app.instruments = instruments
    counted = Counted(backend, instruments, app.tracing, app.gate)
    working = apis.routers(counted, settings)
    opened = (
        probes.router(backend, app.gate),
        metrics.router(instruments),
        page.router(backend, instruments, lambda: app.gate.draining, keyed=bool(settings.api_key)),
        docs.router(),
    )
    for router in (*working, *opened):
        app.include_router(router)
    app.public = Paths((*_templates(opened), *_OPEN))
    failures.register(app)
    _surround(app, backend, settings, instruments, Paths((*_templates(working), *_templates(opened), *_OPEN)))
    instruments.at_work(lambda: app.gate.at_work)
    instruments.describe(counted.status)
    return app


def _empty() -> Application:
    return Application(
        title="Model server",
        version=__version__,
        description="Embeds and reranks with the models of one release, which was held against its lock at the start.",
        openapi_url=None,  # `docs` gives it, and makes its text once
        docs_url=None,  # FastAPI's page loads its script from a CDN
        redoc_url=None,
        redirect_slashes=False,  # would send a client to whatever its Host header says
        # FastAPI's own spans and log records quote queries and messages.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )


def _surround(app: Application, backend: Backend, settings: Settings, instruments: Instruments, known: Paths) -> None:
    """What requests pass before the routes, innermost first."""
    app.add_middleware(Body, settings.limits, app.gate)
    app.add_middleware(Auth, settings.api_key, app.public)
    app.add_middleware(Admission, backend, app.gate)
    app.add_middleware(failures.Guard, settings.limits.body + SPARE)
    if app.tracing:
        app.add_middleware(Traces, app.tracing)
    app.add_middleware(AccessLog, instruments)
    app.add_middleware(Pieces)
    app.add_middleware(Ids, known)


def _templates(routers: Sequence[APIRouter]) -> Iterator[str]:
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                yield route.path
