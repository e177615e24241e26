"""A boto3 client for one bucket, and how its requests are addressed and signed."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from provisioner.errors import (
    AccessDenied,
    InvalidInput,
    MissingExtra,
    ProvisionError,
    StoreError,
    Unavailable,
    Unusable,
    UsageError,
)
from provisioner.stores.objects.failures import failure
from provisioner.transport.http import without_secrets

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

STYLE = "PROVISION_S3_ADDRESSING_STYLE"  # path or virtual
SSE, KMS_KEY = "PROVISION_S3_SSE", "PROVISION_S3_SSE_KMS_KEY_ID"


class Connection:
    """One client and its credentials.

    Raises UsageError, AccessDenied, MissingExtra, and what finding the region raises.

    Attributes:
        client: for control calls.
        root: the URL of the bucket with a slash at the end, under which every object is.
    """

    def __init__(self, bucket: str) -> None:
        try:
            import boto3
        except ImportError:
            raise MissingExtra("S3", "s3") from None
        with translated(f"s3://{bucket}", f"s3://{bucket}"):
            self._session = boto3.Session(botocore_session=_core())
            self._credentials = _Credentials(self._session)
            # botocore has no public way to give a session credentials that change.
            self._session._session._credentials = self._credentials  # type: ignore[attr-defined]
            self.client = self._located(bucket)
        if not self.checksums:
            self.client.meta.events.register("before-sign.s3.DeleteObjects", _with_md5)
        url = self.client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "x"})
        self.root = url.partition("?")[0].removesuffix("x")

    @property
    def checksums(self) -> bool:
        """Whether additional checksums are sent, as AWS_REQUEST_CHECKSUM_CALCULATION says."""
        # An option of botocore's Config that its stubs do not know.
        return str(self.client.meta.config.request_checksum_calculation) != "when_required"  # type: ignore[attr-defined]

    @property
    def endpoint(self) -> str:
        """For people."""
        return without_secrets(self.client.meta.endpoint_url)

    def _located(self, bucket: str) -> S3Client:
        """A client of the region that the bucket is in; outside AWS there is nothing to find."""
        configured = self._session._session.get_scoped_config().get("s3") or {}
        style = os.environ.get(STYLE) or configured.get("addressing_style") or ""
        named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        first = style or ("path" if named and not _is_aws(named) else "virtual")
        client = self._client(first, None)
        if not _is_aws(client.meta.endpoint_url):  # BUCKET.HOST is seldom known to DNS where the host is not Amazon's
            return client if style or first == "path" else self._client("path", None)
        region = _region(client, bucket)
        return client if region in (None, client.meta.region_name) else self._client(style or "virtual", region)

    def _client(self, style: str, region: str | None) -> S3Client:
        from botocore.config import Config

        addressing: Any = {"addressing_style": style}
        config = Config(
            signature_version="s3v4",
            s3=addressing,
            retries={"mode": "standard", "total_max_attempts": 6},
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=64,
        )
        region = region or self._session.region_name or "us-east-1"
        try:
            return self._session.client("s3", region_name=region, config=config)
        except ValueError:  # an endpoint without a scheme, or with a space
            raise InvalidInput(
                "AWS_ENDPOINT_URL is no URL.", hint="Write http://HOST:PORT or https://HOST:PORT."
            ) from None

    def sign(self, method: str, url: str, headers: dict[str, str], payload: str) -> Mapping[str, str]:
        """The headers of a request with its signature; credentials that expire are renewed before."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        class Auth(S3SigV4Auth):
            def payload(self, _request: Any) -> str:
                return payload

        with translated(self.endpoint, "the credentials"):
            credentials = self._credentials.get_frozen_credentials()
            request = AWSRequest(method, url, headers)
            Auth(credentials, "s3", self.client.meta.region_name).add_auth(request)
        return dict(request.headers.items())


class _Credentials:
    """boto3's, whose failures are ours.

    It lets through what a program, a file or a service that gives credentials made it stumble over, as it comes.
    """

    def __init__(self, session: Any) -> None:
        with _refused():
            self._found: Any = session.get_credentials()
        if self._found is None:
            raise AccessDenied(
                "There are no credentials for S3.",
                hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the pod a role.",
            )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found, name)

    def get_frozen_credentials(self) -> Any:
        """What requests are signed with, renewed before it expires. Raises AccessDenied."""
        with _refused():
            return self._found.get_frozen_credentials()


@contextmanager
def _refused() -> Iterator[None]:
    from botocore.parsers import ResponseParserError

    try:
        yield
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, ResponseParserError) as error:
        raise _unusable("s3", error) from None


def _unusable(store: str, error: Exception) -> AccessDenied:
    return AccessDenied(
        f"{store}: boto3 finds no usable credentials ({type(error).__name__}).",  # its text may hold some
        hint="Renew or set the AWS credentials; aws sts get-caller-identity says more.",
    )


def _with_md5(request: Any, **_: Any) -> None:
    """For a store that knows no checksums: botocore sends one with this request whatever it is told.

    https://github.com/boto/boto3/issues/4392
    """
    for name in [name for name in request.headers if name.lower().startswith(("x-amz-checksum", "x-amz-sdk-checksum"))]:
        del request.headers[name]
    digest = hashlib.md5(request.body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()


def _region(client: S3Client, bucket: str) -> str | None:
    """Where Amazon has a bucket; it says so even to whom it lets see nothing else of it."""
    from botocore.exceptions import ClientError

    try:
        about: Any = client.head_bucket(Bucket=bucket)["ResponseMetadata"]
    except ClientError as error:
        about = error.response["ResponseMetadata"]
        if about["HTTPStatusCode"] not in (301, 400, 403):
            raise
    found: str | None = about["HTTPHeaders"].get("x-amz-bucket-region")
    return found


def _core() -> Any:
    """What boto3 stands on, with the descriptions of the API read once for all stores of a process."""
    from botocore.session import Session

    for library in ("boto3", "botocore", "s3transfer"):  # their debug lines hold session tokens and signatures
        if not (logger := logging.getLogger(library)).level:
            logger.setLevel(logging.WARNING)
    logging.getLogger("botocore.credentials").setLevel(logging.CRITICAL)  # it shows what a program wrote to stderr
    core = Session()
    core.register_component("data_loader", _loader())
    parsers = core.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_timestamp)  # its own takes 0.2 ms, a fifth of a long listing
    return core


def _timestamp(value: Any) -> datetime:
    """A time of an answer: ISO 8601 in a body, another form in a header."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        from botocore.utils import parse_timestamp

        return parse_timestamp(value)


@cache
def _loader() -> Any:
    from botocore.loaders import create_loader

    return create_loader()


def _is_aws(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def encryption() -> dict[str, str]:
    """The parameters that ask for encryption at rest, as boto3 names them."""
    found = {"ServerSideEncryption": os.environ.get(SSE, ""), "SSEKMSKeyId": os.environ.get(KMS_KEY, "")}
    return {name: value for name, value in found.items() if value}


@contextmanager
def translated(store: str, what: str) -> Iterator[None]:
    """Turns what boto3 raises into our errors, by type, code and status."""
    import botocore.exceptions as errors
    from s3transfer.exceptions import S3CopyFailedError

    try:
        yield
    except errors.ClientError as error:
        raise _answered(error, store, what) from error
    except S3CopyFailedError as error:  # what boto3's managed copy makes of a ClientError
        raise StoreError(f"{store}: {what} was not copied ({type(error).__name__}).") from error
    except errors.BotoCoreError as error:
        raise _failed(error, store) from error


def _answered(error: Any, store: str, what: str) -> ProvisionError:
    about = error.response.get("ResponseMetadata", {})
    status, headers = int(about.get("HTTPStatusCode", 0)), about.get("HTTPHeaders", {})
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code.isdigit():  # the answer to a HEAD has no body that could say more
        code = "NoSuchBucket" if status == 404 and what == store else ""
        if status == 400 and "x-amz-bucket-region" not in headers:  # for another region S3 names the right one
            code = "ExpiredToken"
    return failure(status, code, what, store, None, headers.get("date", ""))


def _host(error: Any, store: str) -> str:
    """Who was asked, where the store's name does not say it: Amazon, when no endpoint was set."""
    url = without_secrets(str(getattr(error, "kwargs", {}).get("endpoint_url") or ""))
    host = urlsplit(url).netloc
    return f" ({host})" if host and host not in store else ""


def _failed(error: Any, store: str) -> ProvisionError:
    import botocore.exceptions as errors

    credentials = (
        errors.NoCredentialsError,
        errors.PartialCredentialsError,
        errors.CredentialRetrievalError,
        errors.TokenRetrievalError,
        errors.NoAuthTokenError,
        errors.SSOError,
    )
    if isinstance(error, credentials):
        return _unusable(store, error)
    if isinstance(error, errors.ProfileNotFound | errors.ConfigParseError | errors.ConfigNotFound):
        return UsageError(
            f"The AWS profile or its file cannot be read ({type(error).__name__}).",
            hint="Check AWS_PROFILE and AWS_CONFIG_FILE.",
        )
    if isinstance(error, errors.ParamValidationError | errors.InvalidRegionError | errors.UnsupportedS3ArnError):
        return UsageError(f"{store} is not the address of a bucket.", hint="Write s3://BUCKET/PREFIX.")
    if isinstance(error, errors.SSLError):
        return Unusable(
            f"{store}: the endpoint's TLS certificate is not trusted, or it does not speak TLS.",
            hint="For a private CA set AWS_CA_BUNDLE to its PEM file.",
        )
    if isinstance(error, errors.HTTPClientError | errors.ConnectionError):  # its text holds the URL, with a login
        return Unavailable(
            f"{store} does not answer{_host(error, store)}.",
            hint="Check AWS_ENDPOINT_URL, the proxy and the network policy.",
        )
    return Unusable(
        f"{store}: boto3 gives up ({type(error).__name__}).",
        hint="Check the AWS settings: AWS_ENDPOINT_URL, AWS_REGION.",
    )
