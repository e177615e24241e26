"""From `s3://BUCKET/PREFIX` and `minio://HOST:PORT/BUCKET/PREFIX` to a store."""

from __future__ import annotations

import re

from provisioner.errors import UsageError
from provisioner.stores.objects.store import ObjectStore

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")


def open_s3(address: str) -> ObjectStore:
    """The store at `s3://BUCKET/PREFIX`. Raises UsageError, MissingExtra, AccessDenied, NotFound, Unavailable."""
    bucket, prefix = _split(address, address.removeprefix("s3://"), "s3://BUCKET/PREFIX")
    from provisioner.stores.objects.s3 import S3Bucket

    return ObjectStore(S3Bucket(bucket), prefix)


def open_minio(address: str) -> ObjectStore:
    """The store at `minio://HOST:PORT/BUCKET/PREFIX`; the host may be an alias of mc, or empty for MINIO_ENDPOINT."""
    host, _, rest = address.removeprefix("minio://").partition("/")
    bucket, prefix = _split(address, rest, "minio://HOST:PORT/BUCKET/PREFIX")
    from provisioner.stores.objects.minio import MinioBucket

    return ObjectStore(MinioBucket(host, bucket), prefix)


def _split(address: str, rest: str, form: str) -> tuple[str, str]:
    """Bucket and prefix, the latter "" or with a slash at its end."""
    bucket, _, prefix = rest.partition("/")
    steps = prefix.rstrip("/").split("/") if prefix.rstrip("/") else []
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"{_without_login(address)} names no bucket.", hint=f"Write {form}")
    if any(step in ("", ".", "..") or not step.isprintable() for step in steps) or set("?#\\") & set(prefix):
        raise UsageError(f"{_without_login(address)} has a prefix that no store can be at.", hint=f"Write {form}")
    return bucket, "".join(f"{step}/" for step in steps)


def _without_login(address: str) -> str:
    """Somebody may have put a secret before the host."""
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"  # a secret may have a slash in it
