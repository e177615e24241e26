"""The sources of a Job: which addresses a pod can read, and the TCP ports it reaches them by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from provisioner.errors import InvalidInput, UsageError

HUB = "hub"
_PART = r"[^\s/@?#\\]+"
_BUCKET = re.compile(rf"s3://{_PART}(?:/{_PART})*/?")
_MINIO = re.compile(rf"minio://(?P<host>{_PART})?/{_PART}(?:/{_PART})*/?")
_SHARE = re.compile(rf"azurefiles://{_PART}/{_PART}(?:/{_PART})*/?")
_FORMS = "hub, s3://BUCKET/PREFIX, minio://HOST:PORT/BUCKET/PREFIX or azurefiles://ACCOUNT/SHARE/PATH"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OFF = ("false", "0", "no", "off")
_FROM_SECRET = 443  # where the address is a Secret's, the usual port


def check_source(address: str) -> None:
    """Raises UsageError for what a pod has no way to read. It is not repeated, for it may hold a secret."""
    if address != HUB and not any(form.fullmatch(address) for form in (_BUCKET, _MINIO, _SHARE)):
        raise UsageError(
            "One of the sources is nothing that the Job's pod can read.",
            hint=f"Write {_FORMS}, without a login; a volume is no source.",
        )


def port_of(address: str, env: Mapping[str, str]) -> int:
    """The TCP port that a source or target is reached by, as far as the Job's variables say. Raises InvalidInput."""
    if address == HUB:
        return url_port(_first(env, "PROVISION_ENDPOINT", "HF_ENDPOINT"))
    if address.startswith("s3://"):
        return url_port(_first(env, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    if match := _MINIO.fullmatch(address):
        return _minio_port(match["host"] or "", env)
    return url_port(_first(env, "PROVISION_AZURE_FILE_ENDPOINT"))


def url_port(url: str, scheme: str = "https") -> int:
    """The port of a URL, or of HOST:PORT. Raises InvalidInput."""
    if not url:
        return _FROM_SECRET
    try:
        parts = urlsplit(url if "://" in url else f"{scheme}://{url}")
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        port = None
    if port is None:
        raise InvalidInput(
            "An address in kubernetes.job is no URL.",
            hint="endpoint, the proxies and variables such as AWS_ENDPOINT_URL are http://HOST:PORT or https://HOST.",
        )
    return port


def _minio_port(host: str, env: Mapping[str, str]) -> int:
    secure = env.get("MINIO_SECURE", "").lower() not in _OFF
    return url_port(host or env.get("MINIO_ENDPOINT", ""), "https" if secure else "http")


def _first(env: Mapping[str, str], *names: str) -> str:
    return next((env[name] for name in names if env.get(name)), "")
