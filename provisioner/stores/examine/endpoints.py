"""What differs between the kinds of object stores: where they are, whose credentials there are, how to sign."""

from __future__ import annotations

import base64
import hashlib
import os
from functools import partial

from provisioner.errors import AccessDenied, InvalidInput, MissingExtra
from provisioner.stores.examine.check import CONTENT
from provisioner.stores.examine.network import Server
from provisioner.stores.examine.objects import Bare, ObjectExamination
from provisioner.transport.http import Http

_WRONG = CONTENT[::-1]
_MD5 = {"Content-MD5": base64.b64encode(hashlib.md5(_WRONG, usedforsecurity=False).digest()).decode()}
_SHA256 = {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(_WRONG).digest()).decode()}

# How botocore calls the ways to credentials, and people.
_METHODS = {
    "env": "the environment (AWS_ACCESS_KEY_ID)",
    "assume-role": "a role that the profile names",
    "assume-role-with-web-identity": "a web identity (the pod's service account)",
    "iam-role": "the instance's role",
    "container-role": "the container's role",
    "shared-credentials-file": "the credentials file",
    "config-file": "the config file",
    "custom-process": "a program that the profile names",
}


def s3(address: str) -> ObjectExamination:
    """Checks of `s3://BUCKET/PREFIX`."""
    bucket = address.removeprefix("s3://").partition("/")[0]
    return ObjectExamination(address, _s3_server, _s3_kind, partial(_s3_bare, bucket))


def _s3_server() -> Server:
    try:
        import boto3
    except ImportError:
        raise MissingExtra("S3", "s3") from None
    from provisioner.stores.objects.s3_client import translated

    with translated("s3", "s3"):
        session = boto3.Session()
        try:
            client = session.client("s3", region_name=session.region_name or "us-east-1")
        except ValueError:  # an endpoint without a scheme, or with a space
            raise InvalidInput(
                "AWS_ENDPOINT_URL is no URL.", hint="Write http://HOST:PORT or https://HOST:PORT."
            ) from None
        return Server(client.meta.endpoint_url, "AWS_CA_BUNDLE")


def _s3_kind() -> str:
    import boto3

    from provisioner.stores.objects.s3_client import translated

    with translated("s3", "s3"):
        session = boto3.Session()
        found = session.get_credentials()
    if found is None:
        raise AccessDenied(
            "There are no credentials for S3.",
            hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the pod a role.",
        )
    method = str(found.method)
    profile = "" if method == "env" else f", profile {session.profile_name}"
    return f"from {_METHODS.get(method, method)}{profile}"


def _s3_bare(bucket: str) -> Bare:
    from provisioner.stores.objects.s3_client import Connection

    found = Connection(bucket)
    return Bare(Http("AWS_CA_BUNDLE"), found.root, found.sign, _SHA256 if found.checksums else _MD5)


def minio(address: str) -> ObjectExamination:
    """Checks of `minio://HOST:PORT/BUCKET/PREFIX`."""
    host, _, rest = address.removeprefix("minio://").partition("/")
    bucket = rest.partition("/")[0]
    server, kind = partial(_minio_server, host), partial(_minio_kind, host)
    return ObjectExamination(address, server, kind, partial(_minio_bare, host, bucket))


def _minio_server(host: str) -> Server:
    try:
        import minio as _  # noqa: F401  # whether it is there
    except ImportError:
        raise MissingExtra("MinIO", "minio") from None
    from provisioner.stores.objects.minio_login import locate, trusted_files

    return Server(locate(host).url, ca_files=trusted_files())


def _minio_kind(host: str) -> str:
    from provisioner.stores.objects.minio_login import ALIAS, KEYS, locate

    if locate(host).keys is None:
        if os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
            return "from a web identity (the pod's service account)"
        return "none set: those of the container's or the instance's role, if it has one"
    if host and os.environ.get(ALIAS + host):
        return f"from {ALIAS}{host}"
    return f"from {next((one for one, _ in KEYS if os.environ.get(one)), 'an alias of mc')}"


def _minio_bare(host: str, bucket: str) -> Bare:
    from provisioner.stores.objects.minio_client import Connection

    found = Connection(host, bucket)
    return Bare(found.http, found.root, found.sign, _MD5)
