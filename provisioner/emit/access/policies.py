"""Least-privilege policy documents for a store in a bucket, in the language that AWS IAM and MinIO share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

from provisioner.errors import UsageError

Document = dict[str, Any]
READER, WRITER = "reader", "writer"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_WILD = re.compile(r"[*?$\"\\\x00-\x1f\x7f]")  # wildcards and variables of a policy, and what breaks its text
_OBJECTS = (
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is in a bucket.

    Attributes:
        prefix: "" or ends with a slash.
    """

    bucket: str
    prefix: str

    @classmethod
    def of(cls, bucket: str, prefix: str) -> Self:
        """Check a bucket's name and a prefix with or without slashes around it. Raises UsageError."""
        if not _BUCKET.fullmatch(bucket) or ".." in bucket:
            raise UsageError(
                f"{bucket!r} is not the name of a bucket.", hint="3 to 63 of a-z, 0-9, dot and hyphen; no path."
            )
        steps = prefix.strip("/").split("/") if prefix.strip("/") else []
        if _WILD.search(prefix) or any(step in ("", ".", "..") for step in steps):
            raise UsageError(
                f"{prefix!r} cannot be the prefix of a policy.",
                hint='Use whole steps such as teams/search, without * ? $ " and backslash.',
            )
        return cls(bucket, "".join(f"{step}/" for step in steps))

    def name(self, role: str) -> str:
        """The policy's and the user's name: another for every place, whatever the prefix looks like."""
        steps = (_plain(step) for step in (self.bucket, *self.prefix.split("/")[:-1]))
        return f"{'+'.join(steps)}-{role}"


def _plain(step: str) -> str:
    """Escaped, as MinIO takes neither commas nor equals signs in names, and IAM little else than letters."""
    return re.sub(r"[^A-Za-z0-9._-]", lambda match: "".join(f"@{byte:02X}" for byte in match[0].encode()), step)


def reader(place: Place, partition: str = "aws", kms_key: str | None = None) -> Document:
    """List and read what is published, and which release is active; nothing of `staging/`."""
    releases = f"{place.prefix}releases/*"
    return _document(
        _allow("FindBucket", ["s3:GetBucketLocation"], [_bucket(place, partition)]),
        _listing(place, partition, [releases]),
        _allow("Read", ["s3:GetObject"], _objects(place, partition, "releases/*", "current")),
        *_kms(kms_key, ["kms:Decrypt"]),
    )


def writer(place: Place, partition: str = "aws", kms_key: str | None = None) -> Document:
    """List, read, write and delete under the prefix, in parts too.

    `s3:ListBucketMultipartUploads` knows no prefix, on AWS as on MinIO: with a condition it would never hold.
    """
    return _document(
        _allow("FindBucket", ["s3:GetBucketLocation", "s3:ListBucketMultipartUploads"], [_bucket(place, partition)]),
        _listing(place, partition, [f"{place.prefix}*"]),
        _allow("Write", list(_OBJECTS), _objects(place, partition, "*")),
        *_kms(kms_key, ["kms:Decrypt", "kms:GenerateDataKey"]),
    )


def tls_only(place: Place, partition: str = "aws") -> Document:
    """A bucket policy that refuses whoever comes without TLS."""
    deny: Document = {
        "Sid": "RefusePlainHttp",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [_bucket(place, partition), f"{_bucket(place, partition)}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return _document(deny)


def same(one: Document, other: Document) -> bool:
    """Whether two documents say the same; servers sort the lists and turn a list of one into its item and back."""
    return bool(_canonical(one) == _canonical(other))


def _canonical(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _canonical(item, name) for name, item in value.items()}
    if key == "Statement":
        return sorted((_canonical(item) for item in value), key=repr)
    return sorted(map(str, value)) if isinstance(value, list) else [str(value)]


def _document(*statements: Document) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _allow(sid: str, actions: list[str], resources: list[str]) -> Document:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def _listing(place: Place, partition: str, prefixes: list[str]) -> Document:
    statement = _allow("List", ["s3:ListBucket"], [_bucket(place, partition)])
    return statement if prefixes == ["*"] else statement | {"Condition": {"StringLike": {"s3:prefix": prefixes}}}


def _bucket(place: Place, partition: str) -> str:
    return f"arn:{partition}:s3:::{place.bucket}"


def _objects(place: Place, partition: str, *patterns: str) -> list[str]:
    return [f"{_bucket(place, partition)}/{place.prefix}{pattern}" for pattern in patterns]


def _kms(key: str | None, actions: list[str]) -> list[Document]:
    return [_allow("UseKey", actions, [key])] if key else []


def check_key(key: str, partition: str) -> str:
    """The ARN of a KMS key. Raises UsageError for anything else, an alias too: policies take no aliases."""
    if not re.fullmatch(rf"arn:{partition}:kms:[a-z0-9-]+:[0-9]{{12}}:key/[A-Za-z0-9-]+", key):
        raise UsageError(
            f"{key!r} is not the ARN of a KMS key in the partition {partition}.",
            hint=f"Give arn:{partition}:kms:REGION:ACCOUNT:key/ID, not an alias.",
        )
    return key
