"""The SDK's client, set up for long transfers over many connections."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provisioner.errors import MissingExtra
from provisioner.stores.azurefiles.address import Address
from provisioner.stores.azurefiles.login import Login

if TYPE_CHECKING:
    from azure.core.pipeline.transport import RequestsTransport
    from azure.storage.fileshare import ShareClient

# The SDK asks for the newest version it knows, which clouds other than the public one learn much later.
API_VERSION = "2024-11-04"
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
POOL = 256  # connections that are kept: as many as --jobs allows
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_SIGNATURE = re.compile(r"\bsig=[^&\s'\"]+")


@dataclass(frozen=True, slots=True)
class Retries:
    """How often the SDK tries again by itself.

    Attributes:
        total: tries after the first one.
        base, cap: seconds; the delay doubles from the one to the other.
        longest: seconds that a Retry-After may ask for.
    """

    total: int = 6
    base: float = 0.5
    cap: float = 30.0
    longest: float = 120.0


def connect(address: Address, login: Login, retries: Retries) -> ShareClient:
    """A client of one share; nothing is sent yet. Raises MissingExtra."""
    try:
        from azure.storage.fileshare import ShareClient
    except ImportError:
        raise MissingExtra("Azure Files", "azure") from None
    _quiet()
    return ShareClient(
        login.endpoint,
        address.share,
        credential=login.credential,
        token_intent="backup" if hasattr(login.credential, "get_token") else None,
        api_version=API_VERSION,
        retry_policy=_retry_policy(retries),
        transport=_transport(login.endpoint, os.environ),
        permit_redirects=False,  # another host would get the signature in the headers that name a source
    )


def _transport(endpoint: str, environment: Mapping[str, str]) -> RequestsTransport:
    """requests would read the environment again for every request, which costs as much as sending it, and a ~/.netrc
    too, which would replace our signature."""
    import requests
    from azure.core.pipeline.transport import RequestsTransport
    from requests.adapters import HTTPAdapter
    from requests.utils import get_environ_proxies

    session = requests.Session()
    session.trust_env = False
    session.proxies = get_environ_proxies(endpoint)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=POOL, max_retries=0))
    return RequestsTransport(
        session=session,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        connection_verify=next(filter(None, map(environment.get, CA_VARIABLES)), True),
    )


def _retry_policy(retries: Retries) -> Any:
    from azure.storage.fileshare import ExponentialRetry

    class Policy(ExponentialRetry):
        """The SDK's own looks at no Retry-After and begins with 15 seconds."""

        def get_backoff_time(self, settings: dict[str, Any]) -> float:
            answer = settings["history"][-1].http_response if settings["history"] else None
            asked = retry_after(answer.headers if answer is not None else {})
            if asked is not None:
                return min(asked, retries.longest)
            doubled: float = retries.base * 2.0 ** (settings["count"] - 1)
            return min(retries.cap, doubled)

    each = retries.total
    return Policy(retry_total=each, retry_connect=each, retry_read=each, retry_status=each)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait, or None."""
    try:
        return max(float(headers.get("Retry-After", "")), 0.0)
    except ValueError:
        return None


class _Redact(logging.Filter):
    """A shared access signature is part of the URL, which urllib3 logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "sig=" in text:
            record.msg, record.args = _SIGNATURE.sub("sig=REDACTED", text), ()
        return True


_redact = _Redact()


def _quiet() -> None:
    """Every failure is told in our words, so the SDK's own warnings say it twice."""
    if (log := logging.getLogger("azure")).level == logging.NOTSET:
        log.setLevel(logging.CRITICAL)
    for name in ("urllib3.connectionpool", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(_redact)  # once: a logger keeps equal filters only once
