"""One line per request, and its numbers for metrics."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from provisioner.serve import logs
from provisioner.serve.http import ids
from provisioner.serve.http.ids import Asked
from provisioner.serve.instruments import Instruments

log = logging.getLogger(__name__)

GONE = 499  # as nginx has it: the client did not wait for an answer
QUIET = frozenset({"/health", "/healthz", "/readyz", "/api/health", "/metrics"})


class AccessLog:
    """Logs route, status, milliseconds and sizes of every request: probes and scrapes at DEBUG, all else at INFO."""

    def __init__(self, app: ASGIApp, instruments: Instruments) -> None:
        self._app = app
        self._instruments = instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        asked = ids.of(scope)
        try:
            await self._app(scope, receive, send)
        finally:
            note(asked, self._instruments)
        return None


def note(asked: Asked, instruments: Instruments, **more: str) -> None:
    """The line of a request that ended, with more fields where there are, and its numbers."""
    seconds = time.perf_counter() - asked.began
    status = GONE if asked.gone else asked.status or 500
    instruments.answered(asked.route, asked.method, status, seconds, asked.received, asked.sent)
    if asked.refused:
        instruments.refused(asked.refused)
    level = logging.DEBUG if asked.route in QUIET else logging.INFO
    if log.isEnabledFor(level):
        facts = logs.fields(**_fields(asked, status, seconds), **more)
        log.log(level, "%s %s %d", asked.method, asked.route, status, extra=facts)


def _fields(asked: Asked, status: int, seconds: float) -> dict[str, object]:
    facts: dict[str, object] = {
        "method": asked.method,
        "route": asked.route,
        "status": status,
        "ms": round(seconds * 1000, 2),
        "received": asked.received,
        "sent": asked.sent,
    }
    if asked.client:
        facts["client"] = asked.client
    if asked.texts:
        facts |= {"texts": asked.texts, "tokens": asked.tokens}
        facts |= {"wait_ms": round(asked.waiting * 1000, 2), "compute_ms": round(asked.computing * 1000, 2)}
    if asked.refused:
        facts["refused"] = asked.refused
    if asked.trace:
        facts["trace_id"] = asked.trace
    if asked.gone:
        facts["client_closed"] = True
    return facts
