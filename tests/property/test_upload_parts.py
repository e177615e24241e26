"""Parts of an upload: any size fits, whatever was there before, and only the locked bytes become an object."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.errors import NotFound, ProvisionError, Unavailable, VerificationFailed
from provisioner.model import TreeEntry
from provisioner.stores.blocks.budget import BLOCK, Budget
from provisioner.stores.objects import upload
from provisioner.stores.objects.bucket import Part, Stat, UploadGone
from provisioner.stores.objects.upload import MOST_PARTS, Uploads, part_size
from tests.support.hub_fixture import make
from tests.support.locks import tree
from tests.unit.test_blocks import Watched

MIB, GIB, TIB = 2**20, 2**30, 2**40


@given(st.integers(1, 5 * TIB))
def test_every_size_fits_into_the_parts_that_s3_allows(size: int) -> None:
    part = part_size(size)
    assert part == part_size(size)
    assert part * MOST_PARTS >= size
    assert 5 * MIB <= part <= 5 * GIB
    assert part == BLOCK or (part - MIB) * MOST_PARTS < size  # no larger than it must be


@pytest.mark.parametrize(
    ("size", "part"), [(BLOCK + 1, BLOCK), (5 * GIB, BLOCK), (BLOCK * MOST_PARTS, BLOCK), (100 * 10**9, 10 * MIB)]
)
def test_part_sizes(size: int, part: int) -> None:
    assert part_size(size) == part
    assert part_size(BLOCK * MOST_PARTS + 1) == BLOCK + MIB


@dataclass
class MemoryBucket:
    """The uploads and objects of a bucket, kept in memory as S3 keeps them. `refuses` makes some parts fail."""

    objects: dict[str, bytes] = field(default_factory=dict)
    uploads_: dict[str, dict[int, bytes]] = field(default_factory=dict)
    refuses: set[int] = field(default_factory=set)
    sent: list[int] = field(default_factory=list)
    name: str = "memory://bucket"
    _numbers: Any = field(default_factory=count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, key: str, _digest: str) -> str:
        upload = f"{key} {next(self._numbers)}"
        self.uploads_[upload] = {}
        return upload

    def _held(self, upload: str) -> dict[int, bytes]:
        if upload not in self.uploads_:
            raise UploadGone("gone")
        return self.uploads_[upload]

    def write_part(self, _key: str, upload: str, number: int, content: memoryview) -> Part:
        with self._lock:
            self.sent.append(number)
            if number in self.refuses:
                raise Unavailable("not now")
            self._held(upload)[number] = bytes(content)
        return _part(number, bytes(content))

    def parts(self, _key: str, upload: str) -> Iterator[Part]:
        yield from [_part(number, content) for number, content in self._held(upload).items()]

    def finish(self, key: str, upload: str, parts: tuple[Part, ...]) -> None:
        held = self._held(upload)
        if [part.etag for part in parts] != [_part(part.number, held[part.number]).etag for part in parts]:
            raise UploadGone("other parts")
        self.objects[key] = b"".join(held[part.number] for part in parts)
        del self.uploads_[upload]

    def abandon(self, _key: str, upload: str) -> None:
        self.uploads_.pop(upload, None)

    def stat(self, key: str) -> Stat:
        if key not in self.objects:
            raise NotFound("no such key")
        return Stat(len(self.objects[key]), "", 0.0)

    @contextmanager
    def read(self, key: str, start: int, stop: int) -> Iterator[Any]:
        yield _Bytes(self.objects[key][start:stop])

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.objects.pop(key, None)

    def write(self, key: str, content: memoryview, *_: Any) -> bool:
        self.objects[key] = bytes(content)
        return True


def _part(number: int, content: bytes) -> Part:
    return Part(number, len(content), hashlib.md5(content).hexdigest())


class MemoryPull:
    def __init__(self, data: bytes) -> None:
        self.data = data

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[Any]:
        yield _Bytes(self.data[start:stop])


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._left = data

    def readinto(self, buffer: memoryview, /) -> int:
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def entry_of(data: bytes) -> TreeEntry:
    made = make("org/one", {"model.safetensors": data})
    return next(entry for entry in tree(made).entries if entry.path.endswith("model.safetensors"))


def put(bucket: MemoryBucket, data: bytes, come: bytes, unfinished: dict[str, str], connections: int) -> Watched:
    """One put in parts of 10 bytes at least, of which there may be 50."""
    budget = Watched(60)
    small = {"BLOCK": 10, "MOST_PARTS": 50, "_MIB": 3}
    with patch.multiple(upload, **small):
        Uploads(bucket, budget, unfinished).put("key", entry_of(data), MemoryPull(come), lambda _: None, connections)  # type: ignore[arg-type]
    return budget


@given(
    data=st.binary(max_size=900),
    before=st.dictionaries(st.integers(1, 60), st.binary(min_size=1, max_size=18)),
    right=st.sets(st.integers(1, 60)),
    connections=st.integers(1, 4),
)
def test_what_was_there_before_never_gets_into_the_object(
    data: bytes, before: dict[int, bytes], right: set[int], connections: int
) -> None:
    """Parts of an earlier run, of which some are right and others of other bytes, sizes and numbers."""
    step = max(10, -(-len(data) // 150) * 3)
    good = {number: part for number in right if (part := data[(number - 1) * step : number * step])}
    bucket = MemoryBucket(uploads_={"earlier": before | good})
    budget = put(bucket, data, data, {"key": "earlier"}, connections)
    assert bucket.objects == {"key": data}
    assert budget.out == 0
    if len(data) > 10:
        assert bucket.uploads_ == {}
        assert not good.keys() & set(bucket.sent)  # not sent again


@given(data=st.binary(min_size=1, max_size=900), at=st.integers(0, 899), connections=st.integers(1, 4))
def test_other_bytes_leave_nothing(data: bytes, at: int, connections: int) -> None:
    at %= len(data)
    bucket = MemoryBucket()
    with pytest.raises(VerificationFailed):
        put(bucket, data, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], {}, connections)
    assert (bucket.objects, bucket.uploads_) == ({}, {})


@given(
    data=st.binary(min_size=11, max_size=900),
    refuses=st.sets(st.integers(1, 50), min_size=1),
    connections=st.integers(1, 4),
)
def test_a_run_that_fails_keeps_its_parts_for_the_next(data: bytes, refuses: set[int], connections: int) -> None:
    bucket, unfinished = MemoryBucket(refuses=refuses), dict[str, str]()
    try:
        put(bucket, data, data, unfinished, connections)
    except ProvisionError:
        assert bucket.objects == {}
        assert list(bucket.uploads_) == [unfinished["key"]]
    there = {number for parts in bucket.uploads_.values() for number in parts}
    bucket.refuses, bucket.sent = set(), []
    put(bucket, data, data, unfinished, connections)
    assert bucket.objects == {"key": data}
    assert not there & set(bucket.sent)


def test_a_shared_upload_that_ends_under_us_is_begun_anew() -> None:
    data = bytes(range(200))
    bucket = MemoryBucket()
    budget = put(bucket, data, data, {"key": "gone"}, 2)
    assert bucket.objects == {"key": data}
    assert budget.out == 0


@pytest.mark.parametrize("allowed", [0, 1])
def test_too_few_threads_to_send_are_said_and_nothing_stays_borrowed(
    monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    """A pod's limit of processes: `thread.start` fails as it does there."""
    start, begun = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("part"):
            begun.append(thread)
            if len(begun) > allowed:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    data, budget, bucket = bytes(500), Watched(3 * BLOCK), MemoryBucket()
    monkeypatch.setattr(upload, "BLOCK", 10)
    monkeypatch.setattr(upload, "_MIB", 10)
    with pytest.raises(Unavailable, match="thread"):
        Uploads(bucket, budget, {}).put("key", entry_of(data), MemoryPull(data), lambda _: None, 1)  # type: ignore[arg-type]
    assert budget.out == 0
    assert bucket.objects == {}


def test_a_budget_that_is_too_small_for_one_part_still_moves() -> None:
    bucket, budget = MemoryBucket(), Budget(5)
    with patch.multiple(upload, BLOCK=10, _MIB=3):
        Uploads(bucket, budget, {}).put("key", entry_of(bytes(95)), MemoryPull(bytes(95)), lambda _: None, 3)  # type: ignore[arg-type]
    assert bucket.objects == {"key": bytes(95)}
