"""A minio client for one bucket: where its server is, whose keys are used there, and what its errors mean."""

from __future__ import annotations

import logging
import os
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from provisioner.errors import AccessDenied, MissingExtra, ProvisionError, Unavailable, Unusable, UsageError
from provisioner.stores.objects.failures import failure
from provisioner.stores.objects.minio_login import Endpoint, locate, trusted_files
from provisioner.stores.objects.wire import ATTEMPTS, BASE_SECONDS, CAP_SECONDS, LONGEST_SECONDS
from provisioner.transport import http as transport
from provisioner.transport.http import Http

if TYPE_CHECKING:
    import urllib3
    from minio import Minio
    from minio.credentials.credentials import Credentials

REGION, STS = "MINIO_REGION", "MINIO_STS_ENDPOINT"
ANYWHERE = "us-east-1"  # what a MinIO takes that was not told where it is
_REGION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_AWS_STS = "https://sts.amazonaws.com"
_IDENTITY = "AWS_WEB_IDENTITY_TOKEN_FILE"
_CONTAINER = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
_BUSY = (408, 429, 500, 502, 503, 504)

log = logging.getLogger(__name__)


class Connection:
    """One client and its credentials.

    Raises UsageError, InvalidInput, AccessDenied, MissingExtra.

    Attributes:
        http: the connections, for requests that the client does not make.
        root: the URL of the bucket with a slash at the end, under which every object is.
    """

    def __init__(self, host: str, bucket: str) -> None:
        try:
            from minio.helpers import check_bucket_name
        except ImportError:
            raise MissingExtra("MinIO", "minio") from None
        try:
            check_bucket_name(bucket)
        except ValueError:
            raise UsageError(f"{bucket} cannot be a bucket's name.", hint="Check the address.") from None
        self.name, self._bucket = f"minio://{host}/{bucket}", bucket
        self._endpoint = locate(host)
        self.root = f"{self._endpoint.url}/{bucket}/"
        self.http = Http()
        self._pool = patient_pool(self.http, self._endpoint.url)
        self._login = _Login(self._endpoint)

    @cached_property
    def client(self) -> Minio:
        """For control calls. The first use may ask the server where it is."""
        return self._client(self.region)

    @cached_property
    def region(self) -> str:
        """The region that requests are signed for."""
        if configured := os.environ.get(REGION):
            if not _REGION.fullmatch(configured):
                raise UsageError(f"{REGION} is no region.", hint="Unset it unless the server's own is set.")
            return configured
        from minio.error import S3Error

        try:
            return self._client(None)._get_region(self._bucket)
        except S3Error as error:
            if error.code != "AccessDenied":
                raise
            return ANYWHERE  # a policy need not allow s3:GetBucketLocation

    def _client(self, region: str | None) -> Minio:
        from minio import Minio

        scheme, _, host = self._endpoint.url.partition("://")
        login: Any = self._login  # has the one method of a minio Provider, which is imported late
        secure = scheme == "https"
        client: Any = Minio(host, secure=secure, region=region, http_client=self._pool, credentials=login)
        client.disable_virtual_style_endpoint()
        found: Minio = client
        return found

    def sign(self, method: str, url: str, headers: dict[str, str], payload: str) -> Mapping[str, str]:
        """The headers of a request with its signature; credentials that expire are renewed before."""
        from minio.signer import sign_v4_s3
        from minio.time import to_amz_date, utcnow

        with self.translated("the credentials"):
            region, credentials = self.region, self._login.retrieve()
        date, parts = utcnow(), urlsplit(url)
        names = {"Host": parts.netloc, "x-amz-date": to_amz_date(date), "x-amz-content-sha256": payload}
        signed: Any = {**headers, **names}
        if credentials.session_token:
            signed["x-amz-security-token"] = credentials.session_token
        found: Any = sign_v4_s3(
            method=method,
            url=parts,
            region=region,
            headers=signed,
            credentials=credentials,
            content_sha256=payload,
            date=date,
        )
        done: dict[str, str] = found
        return done

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """Turns what the client raises into our errors, by type, code and status."""
        import minio.error as errors
        from urllib3.exceptions import HTTPError

        try:
            yield
        except errors.S3Error as error:
            headers = error.response.headers
            after = headers.get("retry-after", "")
            seconds = float(after) if after.isascii() and after.isdigit() else None
            date = headers.get("date", "")
            raise failure(error.response.status, error.code or "", what, self.name, seconds, date) from error
        except errors.ServerError as error:
            raise failure(error.status_code, "", what, self.name) from error
        except errors.InvalidResponseError as error:
            raise self._strange(error._code, what) from error
        except ElementTree.ParseError as error:
            raise self._strange(200, what) from error
        except HTTPError as error:
            raise unreachable(error, self._endpoint.url) from error
        except ValueError as error:  # well-formed, but not the answer: a failure after the 200 was sent
            raise Unavailable(f"{self.name} did not say that it did what was asked for {what}.") from error

    def _strange(self, status: int, what: str) -> ProvisionError:
        """For what is no XML: a proxy that has no server at hand, or no S3 server at all."""
        if status in _BUSY:
            return failure(status, "", what, self.name)
        return Unusable(
            f"{self._endpoint.url} answers {status}, but not as an S3 server does.",
            hint="Is it the console's port, or does the server speak TLS while MINIO_SECURE or the alias says http?",
        )


def unreachable(error: Exception, url: str) -> ProvisionError:
    """What a failure of urllib3 means for a server."""
    reason = getattr(error, "reason", None)  # of a MaxRetryError
    error = reason if isinstance(reason, Exception) else error
    cause = error.args[0] if error.args else None
    if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        return Unusable(f"{url} does not speak TLS.", hint="For a server without TLS set MINIO_SECURE=false.")
    return transport.translated(error, url)


def patient_pool(http: Http, url: str, attempts: int = ATTEMPTS) -> urllib3.PoolManager:
    """The connections for the client's own requests, which are patient; mc's private CAs are trusted, too."""
    logging.getLogger("urllib3.connectionpool").addFilter(_silent)  # once: a logger keeps equal filters only once
    pool = http.pool(url)
    pool.connection_pool_kw["retries"] = _patience(attempts)
    context: ssl.SSLContext | None = pool.connection_pool_kw.get("ssl_context")
    if context is None:
        return pool
    for file in trusted_files():
        try:
            context.load_verify_locations(cafile=file)
        except OSError:  # ssl.SSLError is one
            log.warning("%s holds no certificates and is passed over.", file)
    return pool


class _Silent(logging.Filter):
    """urllib3 warns of every other try, with the URL; the last failure is told in our words."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.funcName != "urlopen" or record.levelno < logging.WARNING


_silent = _Silent()


def _patience(attempts: int) -> urllib3.Retry:
    from urllib3 import Retry
    from urllib3.response import BaseHTTPResponse

    class Bounded(Retry):
        def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
            seconds = super().get_retry_after(response)
            return None if seconds is None else min(seconds, LONGEST_SECONDS)

    return Bounded(
        total=attempts - 1,
        other=0,  # a certificate gets no better
        redirect=False,  # or the session token would go along
        allowed_methods=None,  # every control call may be made twice
        status_forcelist=_BUSY,
        raise_on_status=False,
        backoff_factor=BASE_SECONDS,
        backoff_max=CAP_SECONDS,
        backoff_jitter=BASE_SECONDS,
    )


class _Login:
    """The keys of an endpoint, else those that this pod or machine is given; renewed before they expire."""

    def __init__(self, endpoint: Endpoint) -> None:
        from minio.credentials.providers import Provider, StaticProvider

        self._lock = threading.Lock()
        keys = endpoint.keys
        self._provider: Provider = StaticProvider(keys.access, keys.secret, keys.token) if keys else _given_here()

    def retrieve(self) -> Credentials:
        """Raises AccessDenied."""
        from urllib3.exceptions import HTTPError

        try:
            with self._lock:
                return self._provider.retrieve()
        except (ValueError, KeyError, OSError, HTTPError, ElementTree.ParseError):
            raise _no_credentials() from None  # their text holds the URL, and that the token


def _given_here() -> Any:
    """The provider of a web identity, a container's or an instance's role. Raises AccessDenied."""
    import urllib3
    from minio.credentials.providers import IamAwsProvider

    if os.environ.get(_IDENTITY):
        sts = os.environ.get(STS) or None
        pool = Http().pool(sts or _AWS_STS)
        pool.connection_pool_kw["retries"] = _straight(0)  # urllib3 logs the URL of another try, which has the token
        return IamAwsProvider(custom_endpoint=sts, http_client=pool)
    disabled = os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
    if disabled and not any(map(os.environ.get, _CONTAINER)):
        raise _no_credentials()
    near = urllib3.PoolManager(timeout=urllib3.Timeout(connect=1, read=5), retries=_straight(1))
    return IamAwsProvider(http_client=near)


def _straight(times: int) -> urllib3.Retry:
    """So many tries more, and no redirect, in the one way that urllib3 bears for requests without headers."""
    import urllib3

    return urllib3.Retry(times, redirect=False, remove_headers_on_redirect=())


def _no_credentials() -> AccessDenied:
    return AccessDenied(
        "There are no credentials for MinIO.",
        hint="Set MINIO_ACCESS_KEY and MINIO_SECRET_KEY, use an alias of mc, or give the pod a role.",
    )
