"""The bearer token, where one is set."""

from __future__ import annotations

import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from provisioner.serve.http import ids
from provisioner.serve.http.routes import Paths
from provisioner.serve.refusals import Repeated, Unauthorized

_READS = ("GET", "HEAD")


class Auth:
    """Asks for the token, but not of probes, scrapers and who looks at a page."""

    def __init__(self, app: ASGIApp, key: str | None, opened: Paths) -> None:
        self._app = app
        self._key = key.encode() if key else None
        self._open = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through. Raises Unauthorized, Repeated."""
        if self._key is not None and scope["type"] == "http" and not self._is_open(scope):
            asked = ids.of(scope)
            if b"authorization" in asked.repeated:
                raise Repeated("The header Authorization is there more than once.")
            check(self._key, asked.headers.get(b"authorization", b""))
        await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        return scope["method"] in _READS and ids.of(scope).path in self._open


def check(key: bytes, given: bytes) -> None:
    """Raises Unauthorized where an `Authorization` is not the token."""
    scheme, _, token = given.partition(b" ")
    # Compared in any case, so that the time does not tell whether the scheme was right.
    same = hmac.compare_digest(token.strip(), key)
    if not same or scheme.lower() != b"bearer":
        raise Unauthorized("This server wants the header `Authorization: Bearer` with its token.")
