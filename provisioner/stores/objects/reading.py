"""The bytes of objects, read to be hashed."""

from __future__ import annotations

import hashlib

from provisioner.errors import StoreError, VerificationFailed
from provisioner.hashing import new_buffer
from provisioner.model import TreeEntry
from provisioner.ports.store import Advance
from provisioner.stores.blocks.budget import BLOCK, Budget
from provisioner.stores.blocks.ordered import fill, in_order
from provisioner.stores.objects.bucket import Bucket
from provisioner.stores.objects.steady import steady

CONNECTIONS = 4  # for one large object: one connection alone seldom fills a line
LARGE = 4 * BLOCK


def hash_object(bucket: Bucket, key: str, size: int, budget: Budget, advance: Advance) -> str:
    """The sha256 in hex of the first `size` bytes. Raises NotFound, AccessDenied, Unavailable."""
    return _by_ranges(bucket, key, size, budget, advance) if size >= LARGE else _in_one(bucket, key, size, advance)


def _in_one(bucket: Bucket, key: str, size: int, advance: Advance) -> str:
    digest, buffer, left = hashlib.sha256(), new_buffer(), size
    with steady(bucket, key)(0, size) as stream:
        while left and (count := stream.readinto(buffer[:left])):
            digest.update(buffer[:count])
            left -= count
            advance(count)
    return digest.hexdigest()


def _by_ranges(bucket: Bucket, key: str, size: int, budget: Budget, advance: Advance) -> str:
    digest = hashlib.sha256()
    with in_order(steady(bucket, key), size, BLOCK, CONNECTIONS, budget) as blocks:
        for block in blocks:
            try:
                digest.update(block.bytes)
                count = len(block.bytes)
            finally:
                block.release()
            advance(count)
    return digest.hexdigest()


def read_back(bucket: Bucket, key: str, entry: TreeEntry, budget: Budget, advance: Advance) -> None:
    """Raise VerificationFailed when an object is not the locked file, NotFound when it is not there."""
    if (size := bucket.stat(key).size) != entry.size:
        raise VerificationFailed(f"{bucket.name}/{key} has {size} bytes, {entry.label} has {entry.size}.")
    if hash_object(bucket, key, size, budget, advance) != entry.sha256:
        raise VerificationFailed(f"{bucket.name}/{key} does not have the locked content of {entry.label}.")


def read_small(bucket: Bucket, key: str, limit: int = 64 * 2**20) -> bytes:
    """A whole object. Raises NotFound, and StoreError when it is larger than anything we write."""
    size = bucket.stat(key).size
    if size > limit:
        raise StoreError(f"{bucket.name}/{key} is too large to be ours.")
    content = bytearray(size)
    with steady(bucket, key)(0, size) as stream:
        fill(stream, memoryview(content))
    return bytes(content)
