"""MinIO's admin API: policies and users, and where an administrator's keys come from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from provisioner.errors import (
    AccessDenied,
    InvalidDocument,
    MissingExtra,
    NotFound,
    Problem,
    ProvisionError,
    Unavailable,
    Unusable,
    UsageError,
)

if TYPE_CHECKING:
    from minio.error import MinioAdminException
    from minio.minioadmin import MinioAdmin

T = TypeVar("T")
_NO_POLICY, _NO_USER = "XMinioAdminNoSuchPolicy", "XMinioAdminNoSuchUser"
# As mc reads MC_HOST_ALIAS: nothing is unquoted, a third field is a session token.
_MC_HOST = re.compile(r"(https?://)([^:]*):([^:]*)(?::(.*))?@([^@/]*)/?")


@dataclass(frozen=True, slots=True)
class Administrator:
    """A MinIO server and the keys of somebody who may administer it.

    Attributes:
        endpoint: URL without a path.
    """

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def administrator(environment: Mapping[str, str], endpoint: str | None, alias: str | None) -> Administrator:
    """The keys of an alias of mc, else of MINIO_ENDPOINT, MINIO_ACCESS_KEY and MINIO_SECRET_KEY.

    Raises UsageError when they are incomplete, NotFound for an alias that is not there, InvalidDocument.
    """
    if alias is not None:
        found = _from_alias(environment, alias)
        return _checked(endpoint or found.endpoint, found.access_key, found.secret_key, found.session_token)
    wanted = {"MINIO_ENDPOINT": endpoint, "MINIO_ACCESS_KEY": None, "MINIO_SECRET_KEY": None}
    values = {name: given or environment.get(name, "") for name, given in wanted.items()}
    if missing := [name for name, value in values.items() if not value]:
        raise UsageError(
            f"Not set: {', '.join(missing)}.", hint="Set them to an administrator's, or name an alias of mc: --alias."
        )
    return _checked(values["MINIO_ENDPOINT"], values["MINIO_ACCESS_KEY"], values["MINIO_SECRET_KEY"], None)


def _checked(endpoint: str, access_key: str, secret_key: str, token: str | None) -> Administrator:
    url = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/") or url.query or url.username:
        raise UsageError(
            "The endpoint is not the URL of a MinIO server.", hint="Write https://HOST:PORT, without keys or a path."
        )
    return Administrator(f"{url.scheme}://{url.netloc}", access_key, secret_key, token)


def _from_alias(environment: Mapping[str, str], alias: str) -> Administrator:
    if text := environment.get(f"MC_HOST_{alias}"):
        if not (match := _MC_HOST.fullmatch(text)):
            raise UsageError(f"MC_HOST_{alias} is not understood.", hint="Write https://ACCESS:SECRET@HOST:PORT")
        return Administrator(match[1] + match[5], match[2], match[3], match[4])
    home = environment.get("MC_CONFIG_DIR") or os.path.join(os.path.expanduser("~"), ".mc")
    path = os.path.join(home, "config.json")
    try:
        with open(path, "rb") as file:
            found = json.load(file)["aliases"][alias]
        return Administrator(found["url"], found["accessKey"], found["secretKey"], found.get("sessionToken"))
    except (OSError, KeyError):
        raise NotFound(
            f"mc has no alias {alias}.", hint=f"Set MC_HOST_{alias}, or run: mc alias set {alias} URL"
        ) from None
    except (ValueError, TypeError):
        raise InvalidDocument(path, (Problem("", "not a configuration of mc"),)) from None


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

    def __init__(self, admin: Administrator) -> None:
        """Connect on the first call. Raises MissingExtra."""
        self._admin = admin
        self._client = _client(admin)

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
        self._call(lambda: self._client.attach_policy([policy], user=user))

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
            raise Unavailable(
                f"MinIO at {self._admin.endpoint} does not answer: {type(error).__name__}.",
                hint="Check the endpoint, the port and the certificate (SSL_CERT_FILE names a CA of your own).",
            ) from None
        except ValueError:  # an answer that our secret key does not decrypt
            raise self._no_minio() from None

    def _translated(self, error: MinioAdminException) -> ProvisionError:
        status, code = int(error._code), _code(error)
        if status in (401, 403) and code == "RequestTimeTooSkewed":
            return AccessDenied("MinIO's clock and ours differ too much.", hint="Set the clocks (NTP), then try again.")
        if status in (401, 403):
            return AccessDenied(
                f"MinIO at {self._admin.endpoint} does not let {self._admin.access_key} administer it"
                + (f": {code}." if code else "."),
                hint="It needs an administrator's keys: consoleAdmin, or admin:GetPolicy, admin:CreatePolicy, "
                "admin:GetUser, admin:CreateUser and admin:AttachUserOrGroupPolicy.",
            )
        if status == 429 or status >= 500:
            return Unavailable(f"MinIO at {self._admin.endpoint} answered {status}.", hint="Try again a little later.")
        if not code:
            return self._no_minio()
        return Unusable(f"MinIO at {self._admin.endpoint} refused with {code}.", hint="Run the printed mc commands.")

    def _no_minio(self) -> NotFound:
        return NotFound(
            f"{self._admin.endpoint} does not speak MinIO's admin API.",
            hint="Give the S3 port, not the console's; other servers have their own ways to create the policies.",
        )


def _code(error: MinioAdminException) -> str:
    """MinIO's name of an error, or "" for an answer that is not MinIO's."""
    try:
        return str(json.loads(error._body)["Code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _client(admin: Administrator) -> MinioAdmin:
    try:
        import certifi
        from minio.credentials.providers import StaticProvider
        from minio.minioadmin import MinioAdmin
        from urllib3 import PoolManager, Retry, Timeout
    except ImportError:
        raise MissingExtra("provision access minio --apply", "minio") from None
    # The client's own would wait five minutes for a server that is not there, five times.
    http = PoolManager(
        timeout=Timeout(connect=10, read=60),
        retries=Retry(total=2, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)),
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
        cert_reqs="CERT_REQUIRED",
    )
    scheme, _, host = admin.endpoint.partition("://")
    provider = StaticProvider(admin.access_key, admin.secret_key, admin.session_token)
    return MinioAdmin(endpoint=host, credentials=provider, secure=scheme == "https", http_client=http)
