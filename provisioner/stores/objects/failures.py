"""What an S3 error means, by its code and status; never by its text."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from provisioner.errors import (
    AccessDenied,
    InvalidInput,
    NotFound,
    ProvisionError,
    StoreError,
    StoreFull,
    Unavailable,
    Unusable,
)
from provisioner.stores.objects.bucket import NoBucket, UploadGone

_FULL = {"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "StorageFull", "InsufficientStorage"}
_READ_ONLY = {"MethodNotAllowed", "ObjectLocked", "WriteOncePolicy", "InvalidObjectState"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"}
_GONE = {"NoSuchUpload", "InvalidPart", "InvalidPartOrder"}
_DAMAGED = {
    "BadDigest",
    "InvalidDigest",
    "XAmzContentSHA256Mismatch",
    "XMinioContentSHA256Mismatch",
    "ChecksumMismatch",
}
_ELSEWHERE = {
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}
_BUSY_CODES = {
    "SlowDown",
    "SlowDownWrite",
    "SlowDownRead",
    "RequestTimeout",
    "ConditionalRequestConflict",
    "OperationAborted",
}
_BUSY = {408, 409, 425, 429, 500, 502, 503, 504}
_REFUSED = {
    "SignatureDoesNotMatch": "The secret key is not that of the access key.",
    "InvalidAccessKeyId": "The server does not know the access key. Is it the right endpoint?",
}
SKEWED = "RequestTimeTooSkewed"


class Damaged(Unavailable):
    """The store received other bytes than were sent."""


class Unproved(StoreError):
    """The store does not say that it has the bytes that were sent."""


class Unsupported(Unusable):
    """The store does not know what was asked for."""


def failure(
    status: int, code: str, what: str, store: str, retry_after: float | None = None, date: str = ""
) -> ProvisionError:
    """The failure of one request.

    Args:
        what: the key, or the bucket, for people.
        date: the Date header of the answer, which tells how far our clock is off.
    """
    if code == "NoSuchBucket":
        return NoBucket(f"There is no bucket {store}.", hint="Check the address and the endpoint, or make the bucket.")
    if code in _GONE:
        return UploadGone(f"{store}: the upload of {what} was ended by another run.", hint="Run again.")
    if code == SKEWED:
        return AccessDenied(
            f"{store} refuses requests because the clocks differ{_by(date)}.", hint="Set this machine's clock (NTP)."
        )
    if code in _FULL or status == 507:
        return StoreFull(f"{store} is full.", hint="Enlarge it, or free space with: provision releases prune --keep 2")
    if code in _EXPIRED:
        return AccessDenied(f"The credentials for {store} have expired.", hint="Renew them and run again to continue.")
    if code in _DAMAGED:
        return Damaged(f"{what} was damaged on the way to {store} ({code}).")
    if code in _BUSY_CODES:
        return Unavailable(f"{store} answers {code} for {what}.", retry_after=retry_after)
    if code in _ELSEWHERE or (status in (301, 307, 400) and code == ""):
        return InvalidInput(
            f"{store} is served by another region or endpoint.",
            hint="Set AWS_REGION to the bucket's, or MINIO_REGION for minio://.",
        )
    if code in _READ_ONLY or status == 405:
        return StoreError(
            f"{store} does not let {what} be written ({code or status}).", hint="Is it read-only or locked?"
        )
    return _by_status(status, code, what, store, retry_after)


def _by_status(status: int, code: str, what: str, store: str, retry_after: float | None) -> ProvisionError:
    if status in (401, 403):
        refused = store if what == store else f"{what} in {store}"
        hint = _REFUSED.get(code, "Check the credentials and their policy: provision access --help")
        return AccessDenied(f"Access to {refused} is refused ({code or status}).", hint=hint)
    if status == 404:
        return NotFound(f"{store} has no {what}.")
    if status in _BUSY:
        return Unavailable(f"{store} answers {code or status} for {what}.", retry_after=retry_after)
    kind = Unsupported if status == 501 else Unusable
    return kind(f"{store} answers {status} {code} for {what}.", hint="Check the endpoint and the proxy.")


def _by(date: str) -> str:
    """By how much, when the answer says what time it is there."""
    try:
        seconds = (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return ""
    return f": this machine is {abs(seconds):.0f} s {'behind' if seconds > 0 else 'ahead'}"
