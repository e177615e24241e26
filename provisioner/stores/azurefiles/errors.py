"""The SDK's failures in our words, by type, status and Azure's error code; their text may hold a signature."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

from provisioner.errors import (
    AccessDenied,
    NotFound,
    ProvisionError,
    StoreError,
    StoreFull,
    Unavailable,
    Unusable,
)
from provisioner.stores.azurefiles.client import retry_after
from provisioner.stores.azurefiles.login import HINT

SKEW_SECONDS = 5 * 60.0  # Azure itself refuses requests from 15 minutes on; signatures begin and end to the second

_FULL = {"ShareSizeLimitReached", "ShareUsageExceedsQuota", "AccountSizeLimitReached", "InsufficientStorage"}
_PASSING = {"ServerBusy", "OperationTimedOut", "InternalError", "ShareBeingDeleted", "DeletePending"}
_NO_SHARE = {"ShareNotFound", "ShareDisabled"}
_GARBLED = "The bytes of {} did not arrive whole."
_OPEN = {"SharingViolation", "FileLockConflict", "CannotDeleteFileOrDirectory", "ClientCacheFlushDelay"}


class Exists(StoreError):
    """Something else has the name already."""


class NoShare(NotFound):
    """The share itself is not there."""


class Garbled(Unavailable):
    """Bytes that were cut off or changed on the way."""


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turns what the SDK raises into our errors; `place` is the store, or a file of it, for people.

    Raises Exists, NotFound, AccessDenied, Garbled, Unavailable, Unusable, StoreFull or StoreError.
    """
    from azure.core.exceptions import AzureError

    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError):  # so the SDK fails on answers that lack a header
        raise unusable(place) from None
    except AzureError as error:
        # Not "from error": its text and those of its causes hold URLs, and they may hold a signature.
        raise failure(error, place) from None


def unusable(place: str) -> Unusable:
    """An answer that says too little, or something strange."""
    return Unusable(
        f"What answers for {place} is no file service of Azure's.",
        hint="Check the endpoint and what proxy is on the way.",
    )


def failure(error: Any, place: str) -> ProvisionError:
    """The failure of one call, `error` an AzureError."""
    from azure.core.exceptions import AzureError, ClientAuthenticationError

    response = getattr(error, "response", None)
    if response is None:
        if isinstance(error, ClientAuthenticationError):
            return AccessDenied(f"There are no credentials for {place} that can be used.", hint=HINT)
        # What the SDK raises for an MD5 that differs is of no class of its own.
        return Garbled(_GARBLED.format(place)) if type(error) is AzureError else _transport(error, place)
    code = getattr(error, "error_code", "") or response.headers.get("x-ms-error-code", "")
    return answered(place, int(response.status_code), str(getattr(code, "value", code)), response.headers)


def answered(place: str, status: int, code: str, headers: Mapping[str, str]) -> ProvisionError:
    """The failure that an answer tells."""
    if code == "Md5Mismatch" or status < 300:
        return Garbled(_GARBLED.format(place))
    if status < 400:  # never followed: the request names what to copy or rename by an URL with our signature
        return Unusable(
            f"{place} answers with a redirect ({status}).", hint="Check the endpoint and what proxy is on the way."
        )
    if code in _FULL or status in (413, 507):
        hint = "Raise the share's quota or free space (provision releases prune --keep 2), then run again."
        return StoreFull(f"No space is left in {place}.", hint=f"{hint} What was verified is kept.")
    if code in _PASSING or status in (408, 429) or status >= 500:
        what = f"{status} {code}".strip()
        return Unavailable(f"{place} does not answer now ({what}).", retry_after=retry_after(headers))
    if status in (401, 403):
        return _denied(place, code, headers)
    if status == 404:
        return _missing(place, code)
    if status == 416:  # shorter than it should be
        return NotFound(f"{place} ends early.")
    if code in _OPEN:
        return StoreError(f"{place} is open elsewhere ({code}).", hint="Close it where the share is mounted.")
    if status == 409 and code in ("ResourceAlreadyExists", "ResourceTypeMismatch", "DirectoryNotEmpty", ""):
        return Exists(f"{place} is there already.")
    return StoreError(f"{place}: the service refuses with {status} {code}.".replace(" .", "."))


def _missing(place: str, code: str) -> NotFound:
    if code in _NO_SHARE:
        return NoShare(f"The file share of {place} does not exist.", hint="Check the account and share, or create it.")
    return NotFound(f"{place} does not exist.")


def _denied(place: str, code: str, headers: Mapping[str, str]) -> AccessDenied:
    what = f"Access to {place} is denied" + (f" ({code})." if code else ".")
    if code in ("AuthenticationFailed", "InvalidAuthenticationInfo"):
        if abs(ahead := _clock_ahead(headers)) > SKEW_SECONDS:
            side = "ahead of" if ahead > 0 else "behind"
            return AccessDenied(
                f"{what[:-1]}: this machine's clock is {abs(ahead) / 60:.0f} minutes {side} Azure's.",
                hint="Set the clock (NTP); signatures are valid for some minutes only.",
            )
        return AccessDenied(what, hint="The key or signature is wrong, or has expired. " + HINT)
    if code == "AuthorizationFailure":
        return AccessDenied(
            what, hint="Does the account's firewall let this network in, and the signature all it needs?"
        )
    return AccessDenied(
        what, hint="Give the identity Storage File Data Privileged Contributor, or the signature rwdlc on objects."
    )


def _clock_ahead(headers: Mapping[str, str]) -> float:
    """Seconds that our clock is ahead of the service's; 0 where it does not say."""
    try:
        return time.time() - parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return 0.0


def _transport(error: BaseException, place: str) -> ProvisionError:
    import requests
    import urllib3.exceptions as errors

    causes = list(_causes(error))
    kinds = tuple(map(type, causes))
    if any(issubclass(kind, ssl.SSLCertVerificationError) for kind in kinds):
        return Unusable(
            f"The TLS certificate on the way to {place} is not trusted.",
            hint="For a private CA set REQUESTS_CA_BUNDLE or SSL_CERT_FILE to its PEM file.",
        )
    if any(issubclass(kind, requests.exceptions.ProxyError) for kind in kinds):
        return Unavailable(f"The proxy on the way to {place} does not answer.", hint="Check HTTPS_PROXY and NO_PROXY.")
    if any(issubclass(kind, errors.NameResolutionError) for kind in kinds):
        return Unavailable(f"The account of {place} is not known to DNS.", hint="Check its name and the resolver.")
    if any(issubclass(kind, errors.NewConnectionError) for kind in kinds):
        return Unavailable(f"{place} refuses connections.", hint="Check the endpoint and the network policy.")
    return Unavailable(f"The connection to {place} broke off.")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that it was made of."""
    todo: list[object] = [error]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [one.__cause__, one.__context__, getattr(one, "reason", None), getattr(one, "inner_exception", None)]
        todo += one.args
