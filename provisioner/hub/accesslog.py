"""One line per request."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)


class AccessLog:
    """Logs client, request, status, bytes and milliseconds of every request, at INFO."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        if not log.isEnabledFor(logging.INFO):
            return await self._app(scope, receive, send)
        began, status, sent = time.perf_counter(), 0, 0

        async def counting(message: Message) -> None:
            nonlocal status, sent
            status = message.get("status", status)
            sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counting)
        finally:
            spent = (time.perf_counter() - began) * 1000
            log.info("%s %s %d %d bytes %.1f ms", _client(scope), _request(scope), status, sent, spent)
        return None


def _client(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else "-"


def _request(scope: Scope) -> str:
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    # Quoted with escapes: a log line is what a client sends, and must stay one line.
    return ascii(f"{scope['method']} {target.decode('latin-1')}")
