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

_WORKLOADS = ("CronJob", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")  # `provision rollout` asks for these


class Refused(InvalidInput):
    """The API server took the request for wrong (400, 413, 422): what was sent can not be."""


class Conflict(InvalidInput):
    """Another field manager holds what was applied, or the object changed meanwhile (409)."""


@dataclass(frozen=True, slots=True)
class Doing:
    """What the API server was asked for.

    Attributes:
        verb: "read", "list", "apply", "replace", "delete" or "read the log of".
        name: "" for all of a kind.
    """

    verb: str
    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.kind} {self.name}" if self.name else f"{self.verb} {self.kind}s"

    @property
    def rights(self) -> str:
        """Where the right to do it is written down."""
        if self.verb == "replace" or self.kind in _WORKLOADS:
            return "docs/update.md says which rights `provision rollout` needs."
        return "docs/job-run.md has the rights that `provision job` needs, as a Role."

    @property
    def after_conflict(self) -> str:
        """What to do about a 409."""
        if self.verb == "apply":
            return "Where its other owner may lose: provision job run --force-conflicts."
        return "Run the same command again: it reads the object anew."

    @property
    def after_refusal(self) -> str:
        """What to do about a 400, 413 or 422."""
        match self.verb:
            case "apply":
                return "provision emit prints what is applied; a policy of the cluster may forbid it."
            case "replace":
                return "A policy of the cluster may forbid it: docs/update.md has the way by manifests."
            case "read the log of":
                return "Has its container started? provision job status says what it waits for."
        return "Check --namespace and the name."


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
        except (ValueError, RecursionError):
            body = None
        message = body.get("message") if isinstance(body, dict) else None
        wait = str(response.headers.get("Retry-After", ""))
        seconds = float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else None
        return cls(response.status_code, str(message or ""), seconds)


def of_answer(answer: Answer, doing: Doing, where: str) -> ProvisionError:
    """The error for an answer; `where` is what to call the context of the kubeconfig."""
    said = f": {answer.message.rstrip('.')}" if answer.message else f" (HTTP {answer.code})"
    match answer.code:
        case 401:
            return AccessDenied(
                f"The API server does not accept the login of {where}.", hint="Log in again; `kubectl auth whoami`."
            )
        case 403:
            return AccessDenied(f"The API server forbids to {doing}{said}.", hint=doing.rights)
        case 404:
            return NotFound(f"Cannot {doing}: it does not exist{said}.", hint="Check --namespace and --context.")
        case 409:
            why = "somebody else holds it" if doing.verb == "apply" else "somebody changed it meanwhile"
            return Conflict(f"Cannot {doing}: {why}{said}.", hint=doing.after_conflict)
        case 400 | 413 | 422:
            return Refused(f"The API server refuses to {doing}{said}.", hint=doing.after_refusal)
        case code if code == 429 or code >= 500:
            return Unavailable(f"The API server cannot {doing} now{said}.", retry_after=answer.retry_after)
    return strange(doing, f"HTTP {answer.code}" if answer.message else "")


def strange(doing: Doing, what: str = "") -> Unusable:
    """The error for an answer that is none of an API server's."""
    return Unusable(
        f"The API server answers strangely to {doing}{f' ({what})' if what else ''}.",
        hint="Is the kubeconfig's server that of a cluster?",
    )


@contextmanager
def translated(where: str, server: str) -> Iterator[None]:
    """Failures of the connection and of the login inside it as ours; `server` without a password."""
    import httpx2
    from lightkube.core.exceptions import ConfigError

    try:
        yield
    except ConfigError as error:  # of a token file: plugins are asked by ourselves
        raise AccessDenied(f"The login of {where} failed: {_brief(error)}.", hint="Log in again, then retry.") from None
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL):
        raise InvalidInput(f"The kubeconfig's server {server} is no address of HTTP.") from None
    except httpx2.LocalProtocolError:  # of the headers only the login's is not ours
        raise bad_token(where) from None
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


def bad_token(where: str) -> AccessDenied:
    """The error for a token that no header may hold; the token is not shown."""
    return AccessDenied(
        f"The token of {where} cannot be sent: it has a line end, a blank or another character that no token has.",
        hint="Write it into the kubeconfig again, without a line end; a login plugin has to print it so.",
    )


def _brief(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")[:300]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
