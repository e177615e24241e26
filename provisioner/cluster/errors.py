"""The API server's refusals and silences as our errors, by status and type."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from provisioner.errors import (
    AccessDenied,
    InvalidInput,
    NotFound,
    ProvisionError,
    Unavailable,
    Unusable,
)

RIGHTS = "docs/job-run.md lists the rights that `provision job` needs as a Role."


class Refused(InvalidInput):
    """The API server took the request for wrong (400, 413, 422): what was sent can not be."""


class Conflict(InvalidInput):
    """Another field manager holds what was applied, or the object changed meanwhile (409)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A failed answer of the API server.

    Attributes:
        message: the server's own sentence, may be empty.
        retry_after: seconds, or None.
    """

    code: int
    message: str
    retry_after: float | None = None

    @classmethod
    def of(cls, response: Any) -> Answer:
        """An httpx2 response whose body was read. A gateway's page is no Status, so anything is taken."""
        try:
            body = response.json()
        except ValueError:
            body = None
        message = body.get("message") if isinstance(body, dict) else None
        wait = str(response.headers.get("Retry-After", ""))
        return cls(response.status_code, str(message or ""), float(wait) if wait.isdigit() else None)


def of_answer(answer: Answer, doing: str, where: str) -> ProvisionError:
    """The error for an answer to `doing`, such as "read Job models-mirror"."""
    said = f": {answer.message}" if answer.message else f" (HTTP {answer.code})"
    match answer.code:
        case 401:
            return AccessDenied(
                f"The API server does not accept the login of {where}.", hint="Log in again; `kubectl auth whoami`."
            )
        case 403:
            return AccessDenied(f"The API server forbids to {doing}{said}.", hint=RIGHTS)
        case 404:
            return NotFound(f"Cannot {doing}: it does not exist{said}.", hint="Check --namespace and --context.")
        case 409:
            return Conflict(
                f"Cannot {doing}: somebody else holds it{said}.",
                hint="Where its other owner may lose: --force-conflicts.",
            )
        case 400 | 413 | 422:
            return Refused(f"The API server refuses to {doing}{said}.", hint="Compare it with provision emit job.")
        case code if code == 429 or code >= 500:
            return Unavailable(f"The API server cannot {doing} now{said}.", retry_after=answer.retry_after)
    return Unusable(
        f"The API server answers strangely to {doing}{said}.",
        hint="Is the kubeconfig's server that of a cluster?",
    )


@contextmanager
def translated(doing: str, where: str, server: str) -> Iterator[None]:
    """Failures of the connection and of the login inside it as ours."""
    import httpx2
    from lightkube.core.exceptions import ConfigError

    try:
        yield
    except ConfigError as error:
        raise AccessDenied(f"The login of {where} failed: {_brief(error)}.", hint="Log in again, then retry.") from None
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL):
        raise InvalidInput(f"The kubeconfig's server {server} is no address of HTTP.") from None
    except httpx2.HTTPError as error:
        if any(isinstance(one, ssl.SSLCertVerificationError) for one in _causes(error)):
            raise Unusable(
                f"The certificate of the API server {server} is not trusted.",
                hint="Is certificate-authority-data of the kubeconfig that of this cluster?",
            ) from None
        raise Unavailable(
            f"The API server {server} does not answer ({type(error).__name__}).",
            hint="Is the VPN up, and the right --context chosen? kubectl cluster-info asks the same.",
        ) from None


def _brief(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:300]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
