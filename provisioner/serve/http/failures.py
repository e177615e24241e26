"""What a client is told when its request is not answered, in the shape of the API that it asked.

The log keeps an error's type and place, never its message: that may quote a text of the request.
"""

from __future__ import annotations

import asyncio
import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from provisioner.serve import logs
from provisioner.serve.http import apis, ids
from provisioner.serve.http.body import linger
from provisioner.serve.http.invalid import invalid
from provisioner.serve.http.stalled import ABORT
from provisioner.serve.refusals import (
    Broken,
    Invalid,
    NoSuchMethod,
    NoSuchPath,
    NotReady,
    Refused,
    TooLarge,
    Unauthorized,
    Unsupported,
)

log = logging.getLogger(__name__)


def answer(request: Request, refused: Refused) -> Response:
    """The answer to a request that is refused."""
    asked = ids.of(request.scope)
    asked.refused = refused.kind
    response = apis.refusal(asked.path)(refused, asked.id)
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(refused.retry_after)
    if isinstance(refused, Unauthorized):
        response.headers["WWW-Authenticate"] = 'Bearer realm="models"'
    if isinstance(refused, Unsupported):
        response.headers["Accept-Encoding"] = "identity"
    return response


def register(app: FastAPI) -> None:
    """Answer what routes, and FastAPI before them, raise."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _http)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return answer(request, error)


async def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return answer(request, invalid(error.errors()))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = answer(request, _translated(error.status_code))
    for name, value in (error.headers or {}).items():  # Allow of a 405
        response.headers[name] = value
    return response


def _translated(status: int) -> Refused:
    """What FastAPI and Starlette refuse by themselves; their sentences are not ours, so they are not sent."""
    match status:
        case 404:
            return NoSuchPath("There is nothing at this address; /docs lists what there is.")
        case 405:
            return NoSuchMethod("This address is not asked with this method; /docs lists how.")
        case 413:
            return TooLarge("The body is larger than what is read.")
        case 415:
            return Unsupported("The body is of a form that is not read here.")
        case _ if status >= 500:
            return Broken("The server could not answer.")
    return Invalid("The body is not JSON that can be read.")


class Guard:
    """Answers what the middlewares inside of it refuse, and whatever else goes wrong in there.

    Args:
        limit: bytes of a body that is not read which are still taken in behind an answer.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            return await self._app(scope, receive, send)
        except Refused as error:
            refused = error
        except asyncio.CancelledError:  # the server ends now; else requests end by their deadlines
            refused = NotReady("The server is ending.", retry_after=2)
        except Exception as error:
            log.error("A request failed.", extra=logs.fields(trace=logs.trace(error)))
            refused = Broken("The server failed on this request; its log says more under the id of the request.")
        if ids.of(scope).started:
            return await _cut(scope, receive, refused)
        return await self._send(scope, receive, send, refused)

    async def _send(self, scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
        asked = ids.of(scope)
        response = answer(Request(scope), refused)
        if not asked.unread:
            return await response(scope, receive, send)

        async def last(message: Message) -> None:
            if message["type"] != "http.response.body" or message.get("more_body", False):
                return await send(message)
            await send({**message, "more_body": True})
            await linger(receive, self._limit)
            return await send({"type": "http.response.body", "body": b"", "more_body": False})

        return await response(scope, receive, last)


class BrokenOff(Exception):
    """Makes the server cut the connection."""


async def _cut(scope: Scope, receive: Receive, refused: Refused) -> None:
    """End the connection: only that can tell the client now that its answer is not whole."""
    ids.of(scope).refused = refused.kind
    if (abort := scope.get(ABORT)) is None:
        raise BrokenOff("An answer broke off after its head was sent.") from None
    abort()
    while (await receive())["type"] != "http.disconnect":
        pass
