"""Where volumes come from: exports, shares, buckets and mount options; each checked once, when it is made."""

from __future__ import annotations

import re
from typing import Self

from provisioner.emit.kubernetes.names import AbsolutePath, Host

_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_SHARE = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_STEP = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.@+=-]{1,255}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_OPTION = re.compile(r"[a-z_][a-z0-9_-]*(?:=[A-Za-z0-9_.:/@+%-]+)?")
_OURS = frozenset(["ro", "rw"])
_SECRET = frozenset(["user", "username", "pass", "password", "password2", "cred", "credentials"])


class Export(str):
    """The path of an NFS export; `/` is the root of an NFSv4 server. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        return super().__new__(cls, text if text == "/" else AbsolutePath(text))


class Account(str):
    """The name of an Azure storage account. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _ACCOUNT.fullmatch(text):
            raise ValueError("not a storage account (3 to 24 lower-case letters and digits)")
        return super().__new__(cls, text)


class Share(str):
    """The name of an Azure file share. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _SHARE.fullmatch(text):
            raise ValueError("not a file share (3 to 63 lower-case letters, digits and single -)")
        return super().__new__(cls, text)


class Folder(str):
    """A folder of a share: `a/b`. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _steps(text):
            raise ValueError("not a folder of the share (A/B, letters, digits, _, ., @, +, = and -)")
        return super().__new__(cls, text)


class Url(str):
    """`http://HOST` or `https://HOST:PORT`, nothing before or after. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        scheme, _, server = text.partition("://")
        if scheme not in ("http", "https") or not _is_server(server):
            raise ValueError("not the URL of a server (http://HOST:PORT or https://HOST:PORT)")
        return super().__new__(cls, text)


class BucketAddress(str):
    """`s3://BUCKET/PREFIX` or `minio://HOST:PORT/BUCKET/PREFIX`, as `--to` takes it. Raises ValueError for others."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        address = super().__new__(cls, text)
        server, bucket, prefix = address._parts()
        known = (text.startswith("s3://") and not server) or (text.startswith("minio://") and _is_server(server))
        if not known or not _BUCKET.fullmatch(bucket) or (prefix and not _steps(prefix)):
            raise ValueError("not an address of a bucket (s3://BUCKET/PREFIX or minio://HOST:PORT/BUCKET/PREFIX)")
        return address

    def _parts(self) -> tuple[str, str, str]:
        scheme, _, rest = self.partition("://")
        server, _, rest = rest.partition("/") if scheme == "minio" else ("", "", rest)
        bucket, _, prefix = rest.partition("/")
        return server, bucket, prefix.rstrip("/")

    @property
    def server(self) -> str:
        """HOST or HOST:PORT of a MinIO; "" for S3."""
        return self._parts()[0]

    @property
    def bucket(self) -> str:
        """The bucket."""
        return self._parts()[1]

    @property
    def prefix(self) -> str:
        """Where the store begins in the bucket: "" or ends with a slash."""
        return f"{prefix}/" if (prefix := self._parts()[2]) else ""


class MountOption(str):
    """One more option of a mount: `sec=krb5p`. Raises ValueError for anything else.

    Whether a volume can be written is not for an option to say, and a secret would be seen by everybody who may read
    volumes.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _OPTION.fullmatch(text):
            raise ValueError("not one mount option (NAME or NAME=VALUE)")
        if (name := text.partition("=")[0]) in _OURS:
            raise ValueError(f"{name} is not yours to set: the claim for readers is read-only, the other is not")
        if name in _SECRET:
            raise ValueError(f"{name} would be seen by everybody who may read volumes: it belongs into the secret")
        return super().__new__(cls, text)


def _steps(text: str) -> bool:
    return all(_STEP.fullmatch(step) for step in text.split("/"))


def _is_server(text: str) -> bool:
    """HOST or HOST:PORT; no address of IPv6, which would need brackets that few tools take."""
    host, colon, port = text.partition(":")
    try:
        Host(host)
    except ValueError:
        return False
    return not colon or (bool(_PORT.fullmatch(port)) and int(port) < 65536)
