"""Why a request is not answered. Each HTTP API, and gRPC, puts these into the shape that its clients expect."""

from __future__ import annotations

from typing import ClassVar


class Refused(Exception):
    """A request that cannot be answered, with one sentence for whoever sent it; never a text of theirs.

    Attributes:
        status: of HTTP.
        kind: one word for machines.
        param: the field of the request that is wrong, or None.
        retry_after: whole seconds after which the same request may succeed, or None.
    """

    status: ClassVar[int] = 400
    kind: ClassVar[str] = "bad_request"

    def __init__(self, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.retry_after = retry_after


class Invalid(Refused):
    """A field that cannot be: too many texts, too long a text, token ids that the model does not have."""

    status = 422
    kind = "validation"


class TooLarge(Refused):
    """A body, or a text that was not to be truncated, over its limit."""

    status = 413
    kind = "too_large"


class Unauthorized(Refused):
    """No bearer token, or another one."""

    status = 401
    kind = "unauthorized"


class Repeated(Refused):
    """A header that may be there once, and was there again: servers and proxies differ in which one they take."""


class NotServed(Refused):
    """A model that this server does not have."""

    status = 404
    kind = "model_not_found"


class WrongRole(Refused):
    """Reranking asked of the indexing server."""

    status = 400
    kind = "wrong_role"


class Busy(Refused):
    """As many requests or texts as there may be are at work already."""

    status = 429
    kind = "overloaded"


class NotReady(Refused):
    """The models are being loaded, or the server is ending."""

    status = 503
    kind = "not_ready"


class TimedOut(Refused):
    """The body did not arrive, or the answer was not ready, in time."""

    status = 504
    kind = "timeout"


class Failed(Refused):
    """The engine failed on the batch that the request was in; the server's log says how."""

    status = 500
    kind = "engine_failed"


class SlowBody(TimedOut):
    """The body did not arrive in time."""

    status = 408


class SlowHead(TimedOut):
    """The head of a request did not arrive in time."""

    status = 408


class LongHead(TooLarge):
    """A head over its limit."""

    status = 431


class NoSuchPath(Refused):
    """Nothing is at this address."""

    status = 404
    kind = "not_found"


class NoSuchMethod(Refused):
    """The address is not asked in this way."""

    status = 405
    kind = "method_not_allowed"


class Unsupported(Refused):
    """A body in a form that is not read, as a compressed one."""

    status = 415
    kind = "unsupported_media_type"


class Broken(Refused):
    """A bug of ours: the log has it under the id of the request."""

    status = 500
    kind = "internal"
