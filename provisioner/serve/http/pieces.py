"""Answers go out piece by piece, as fast as their clients read them."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PIECE = 2**16  # bytes


class Pieces:
    """Sends large bodies in pieces, so that a request is at work until its client has nearly all of its answer.

    A server takes a body of any size at once, and keeps what its client does not read.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""

        async def sending(message: Message) -> None:
            body = message.get("body", b"")
            if len(body) > _PIECE:
                more = message.get("more_body", False)
                for start in range(0, len(body), _PIECE):
                    last = start + _PIECE >= len(body)
                    if start:
                        await asyncio.sleep(0)  # others go on; and it ends here where the client has gone away
                    await send({**message, "body": body[start : start + _PIECE], "more_body": more or not last})
            else:
                await send(message)

        await self._app(scope, receive, sending)
