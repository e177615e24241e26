"""Refusals with the status and the word that clients of Text Embeddings Inference know."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Response

from provisioner.serve.http.apis.answers import failure
from provisioner.serve.refusals import Failed, NotReady, NotServed, Refused, TimedOut, TooLarge, WrongRole

_T = TypeVar("_T")


class Empty(Refused):
    """No inputs at all."""

    status = 400
    kind = "empty"


class TooLong(Refused):
    """A text that was not to be cut."""

    status = 413
    kind = "validation"


class NotInferred(Refused):
    """The model cannot do that, or failed."""

    status = 424
    kind = "backend"


class Unhealthy(Refused):
    """Not ready."""

    status = 503
    kind = "unhealthy"


class Late(Refused):
    """No answer in time, for which it has no word."""

    status = 504
    kind = "backend"


_KINDS: tuple[tuple[type[Refused], type[Refused]], ...] = (
    (TooLarge, TooLong),
    (NotServed, NotInferred),
    (WrongRole, NotInferred),
    (Failed, NotInferred),
    (NotReady, Unhealthy),
    (TimedOut, Late),
)


def translated(refused: Refused) -> Refused:
    """A refusal with the status and the word that its clients know."""
    for ours, theirs in _KINDS:
        if isinstance(refused, ours):
            return theirs(str(refused), param=refused.param, retry_after=refused.retry_after)
    return refused


def refusal(refused: Refused, request_id: str) -> Response:
    """As our own API, in its words."""
    return failure(translated(refused), request_id)


async def in_its_words(answering: Awaitable[_T]) -> _T:
    """What is awaited. Raises a refusal as `translated` gives it."""
    try:
        return await answering
    except Refused as refused:
        raise translated(refused) from None
