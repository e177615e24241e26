"""A store in a bucket whose requests go through a proxy that can fail, and models that are large enough for parts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from provisioner.stores.objects import steady, upload, wire
from tests.support.hub_fixture import Made, make
from tests.support.locks import snapshot, tree
from tests.support.object_backend import ObjectBackend, object_backend
from tests.support.s3_faults import Fault, FaultyS3
from tests.support.seaweed import cannot_serve
from tests.support.stores import findings

PART = 5 * 2**20  # the smallest that S3 takes
WEIGHTS = "model.safetensors"


@cache
def large(parts: float = 2.5) -> Made:
    """A model whose weights go in several parts; they cannot be compressed."""
    data = random.Random(parts).randbytes(int(parts * PART))
    return make("org/large", {"config.json": b'{"large": true}', WEIGHTS: data})


@dataclass
class Through:
    """A store behind a proxy, and hands that reach the server directly."""

    proxy: FaultyS3
    direct: ObjectBackend
    store: ObjectBackend

    def fault(self, do: Any, **which: Any) -> Fault:
        fault = Fault(do, **which)
        self.proxy.faults.append(fault)
        return fault

    def weights(self, made: Made) -> str:
        return self.direct.key(tree(made).release_id, snapshot(made, WEIGHTS))

    def parts(self, made: Made) -> set[int]:
        """The parts that an unfinished upload of the weights holds."""
        found: set[int] = set()
        s3, key = self.direct.client, self.weights(made)
        for one in s3.list_multipart_uploads(Bucket=self.direct.bucket).get("Uploads", []):
            if one["Key"] == key:
                parts = s3.list_parts(Bucket=self.direct.bucket, Key=key, UploadId=one["UploadId"])
                found |= {part["PartNumber"] for part in parts.get("Parts", [])}
        return found

    def assert_nothing_is_visible(self) -> None:
        assert self.direct.open().releases() == ()
        assert self.direct.open().active() is None

    def assert_whole(self, made: Made) -> None:
        """The release is there, equal to what was locked by somebody else's reading, and nothing else is."""
        release = tree(made).release_id
        assert self.direct.open().releases() == (release,)
        assert findings(self.direct.open(), release) == {}
        for path, data in made.content.items():
            assert self.direct.read(release, snapshot(made, path)) == data
        assert self.direct.unfinished() == []


@contextmanager
def through() -> Iterator[Through]:
    if reason := cannot_serve():
        pytest.skip(reason)
    with object_backend("s3") as direct, FaultyS3(direct.server.endpoint) as proxy:
        yield Through(proxy, direct, replace(direct, endpoint=proxy.endpoint))


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter waits between tries, as many of them; and small parts."""
    monkeypatch.setattr(wire, "BASE_SECONDS", 0.01)
    monkeypatch.setattr(steady, "BASE_SECONDS", 0.01)
    monkeypatch.setattr(upload, "BLOCK", PART)
