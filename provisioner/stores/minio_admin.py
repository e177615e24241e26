"""MinIO's admin API: policies and users."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from provisioner.errors import (
    AccessDenied,
    MissingExtra,
    NotFound,
    ProvisionError,
    Unavailable,
    Unusable,
    UsageError,
)
from provisioner.stores.objects.minio_client import patient_pool, unreachable
from provisioner.stores.objects.minio_login import KEYS, Endpoint, Keys
from provisioner.transport.http import Http

if TYPE_CHECKING:
    from minio.error import MinioAdminException
    from minio.minioadmin import MinioAdmin

T = TypeVar("T")
_NO_POLICY, _NO_USER = "XMinioAdminNoSuchPolicy", "XMinioAdminNoSuchUser"
_ATTACHED = "XMinioAdminPolicyChangeAlreadyApplied"
ATTEMPTS = 3  # somebody waits for the answer


@dataclass(frozen=True, slots=True)
class User:
    """What the server tells about a user.

    Attributes:
        policies: the names of those that are attached to the user itself.
    """

    enabled: bool
    policies: tuple[str, ...]


class MinioServer:
    """The few admin calls that access needs.

    Every method raises AccessDenied, Unavailable, and NotFound where something else than MinIO answers.
    """

    def __init__(self, admin: Endpoint) -> None:
        """Connect on the first call. Raises MissingExtra, UsageError without keys, InvalidInput."""
        if admin.keys is None:
            raise UsageError(
                f"There are no keys for {admin.url}.",
                hint=f"Set {KEYS[0][0]} and {KEYS[0][1]} to an administrator's, or name an alias of mc: --alias.",
            )
        self._url, self._user = admin.url, admin.keys.access
        self._client = _client(admin, admin.keys)

    def policy(self, name: str) -> dict[str, Any] | None:
        """A policy's document, or None."""
        return self._get(self._client.policy_info, name, _NO_POLICY)

    def set_policy(self, name: str, document: dict[str, Any]) -> None:
        """Create or replace a policy."""
        self._call(lambda: self._client.policy_add(name, policy=document))

    def user(self, name: str) -> User | None:
        """A user, or None."""
        if (found := self._get(self._client.user_info, name, _NO_USER)) is None:
            return None
        policies = str(found.get("policyName") or "").split(",")
        return User(found.get("status") != "disabled", tuple(policy for policy in policies if policy))

    def set_user(self, name: str, secret_key: str) -> None:
        """Create a user, or give one a new secret key; enables it too."""
        self._call(lambda: self._client.user_add(name, secret_key))

    def attach(self, policy: str, user: str) -> None:
        """Give a user one more policy."""
        from minio.error import MinioAdminException

        def asked() -> None:
            try:
                self._client.attach_policy([policy], user=user)
            except MinioAdminException as error:
                if _code(error) != _ATTACHED:  # by an earlier try whose answer was lost
                    raise

        self._call(asked)

    def _get(self, question: Callable[[str], str], name: str, absent: str) -> dict[str, Any] | None:
        """The server's answer about one name, None where there is no such thing."""
        from minio.error import MinioAdminException

        def asked() -> str | None:
            try:
                return question(name)
            except MinioAdminException as error:
                if _code(error) == absent:
                    return None
                raise

        text = self._call(asked)
        try:
            found = None if text is None else json.loads(text)
        except ValueError:
            raise self._no_minio() from None
        if not isinstance(found, dict | None):
            raise self._no_minio()
        return found

    def _call(self, call: Callable[[], T]) -> T:
        from minio.error import MinioAdminException
        from urllib3.exceptions import HTTPError

        try:
            return call()
        except MinioAdminException as error:
            raise self._translated(error) from None
        except HTTPError as error:
            raise unreachable(error, self._url) from None
        except ValueError:  # an answer that our secret key does not decrypt
            raise self._no_minio() from None

    def _translated(self, error: MinioAdminException) -> ProvisionError:
        status, code = int(error._code), _code(error)
        if status in (401, 403) and code == "RequestTimeTooSkewed":
            return AccessDenied("MinIO's clock and ours differ too much.", hint="Set the clocks (NTP), then try again.")
        if status in (401, 403):
            return AccessDenied(
                f"MinIO at {self._url} does not let {self._user} administer it" + (f": {code}." if code else "."),
                hint="It needs an administrator's keys: consoleAdmin, or admin:GetPolicy, admin:CreatePolicy, "
                "admin:GetUser, admin:CreateUser and admin:AttachUserOrGroupPolicy.",
            )
        if status == 429 or status >= 500:
            return Unavailable(f"MinIO at {self._url} answered {status}.", hint="Try again a little later.")
        if not code:
            return self._no_minio()
        return Unusable(f"MinIO at {self._url} refused with {code}.", hint="Run the printed mc commands.")

    def _no_minio(self) -> NotFound:
        return NotFound(
            f"{self._url} does not speak MinIO's admin API.",
            hint="Give the S3 port, not the console's; other servers have their own ways to create the policies.",
        )


def _code(error: MinioAdminException) -> str:
    """MinIO's name of an error, or "" for an answer that is not MinIO's."""
    try:
        return str(json.loads(error._body)["Code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _client(admin: Endpoint, keys: Keys) -> MinioAdmin:
    try:
        from minio.credentials.providers import StaticProvider
        from minio.minioadmin import MinioAdmin
    except ImportError:
        raise MissingExtra("provision access minio --apply", "minio") from None
    # The client's own connections would wait five minutes for a server that is not there, five times.
    pool = patient_pool(Http(), admin.url, ATTEMPTS)
    scheme, _, host = admin.url.partition("://")
    provider = StaticProvider(keys.access, keys.secret, keys.token)
    return MinioAdmin(endpoint=host, credentials=provider, secure=scheme == "https", http_client=pool)
