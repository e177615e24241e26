"""Whether the process lives, and whether it answers requests."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from provisioner.serve.backend import Backend
from provisioner.serve.http.admission import Gate

ALIVE = ("/health", "/healthz")
READY = "/readyz"


def router(backend: Backend, gate: Gate) -> APIRouter:
    """`/health`, `/healthz` and `/readyz`, GET and HEAD."""
    routes = APIRouter(tags=["probes"])

    async def alive() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    async def ready() -> PlainTextResponse:
        status = backend.status()
        if gate.draining:
            return PlainTextResponse("The server is ending.\n", 503)
        if not status.ready:
            return PlainTextResponse(f"{status.detail or 'The models are not loaded yet.'}\n", 503)
        return PlainTextResponse("ready\n")

    for path in ALIVE:
        _add(routes, path, alive, "Alive", {})
    _add(routes, READY, ready, "Ready", {503: {"description": "Not ready, and why", "content": {"text/plain": {}}}})
    return routes


def _add(routes: APIRouter, path: str, endpoint: Any, summary: str, responses: dict[int | str, dict[str, Any]]) -> None:
    routes.add_api_route(
        path, endpoint, methods=["GET"], summary=summary, response_class=PlainTextResponse, responses=responses
    )
    routes.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
