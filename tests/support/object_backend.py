"""Object stores under test: a bucket of a real S3 server, and hands of its own to look into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from provisioner.ports.store import Modes, Store
from provisioner.stores.targets import open_store
from tests.support import seaweed
from tests.support.seaweed import S3Server

PREFIX = "models/of the/house"


def environment(server: S3Server, endpoint: str | None = None) -> dict[str, str]:
    """What a process needs to reach the server, through `endpoint` when something stands between."""
    host = (endpoint or server.endpoint).partition("://")[2]
    return {
        "AWS_ENDPOINT_URL": endpoint or server.endpoint,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": server.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MINIO_ENDPOINT": endpoint or server.endpoint,
        "MINIO_ACCESS_KEY": server.access_key,
        "MINIO_SECRET_KEY": server.secret_key,
        "NO_PROXY": f"127.0.0.1,{host}",
    }


@dataclass
class ObjectBackend:
    """A store in a bucket, reached by `scheme`; `client` knows nothing of our code."""

    scheme: str
    server: S3Server
    bucket: str
    endpoint: str | None = None
    hard_links: bool = False
    chmod: bool = False
    in_place: bool = True

    def __post_init__(self) -> None:
        self.client = seaweed.client(self.server)

    @property
    def address(self) -> str:
        if self.scheme == "s3":
            return f"s3://{self.bucket}/{PREFIX}"
        host = (self.endpoint or self.server.endpoint).partition("://")[2]
        return f"minio://{host}/{self.bucket}/{PREFIX}"

    def open(self, modes: Modes | None = None) -> Store:
        with patch.dict(os.environ, environment(self.server, self.endpoint)):
            return open_store(self.address)

    def key(self, release: str, path: str = "") -> str:
        return f"{PREFIX}/releases/{release}/{path}"

    def keys(self) -> dict[str, int]:
        """Every key below the prefix with its size."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{PREFIX}/")
        return {
            one["Key"].removeprefix(f"{PREFIX}/"): one["Size"] for page in pages for one in page.get("Contents", [])
        }

    def read(self, release: str, path: str) -> bytes:
        return self.client.get_object(Bucket=self.bucket, Key=self.key(release, path))["Body"].read()

    def overwrite(self, release: str, path: str, content: bytes) -> None:
        key = self.key(release, path)
        try:
            seaweed.overwrite(self.server, self.bucket, key, content)
        except self.client.exceptions.ClientError:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=content)

    def delete(self, release: str, path: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self.key(release, path))

    def uploads(self) -> list[str]:
        """Keys of the multipart uploads that nobody completed."""
        found = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return sorted(one["Key"].removeprefix(f"{PREFIX}/") for one in found)

    def unfinished(self) -> list[str]:
        keys = self.keys()
        releases = {key.split("/")[1] for key in keys if key.startswith("releases/")}
        bare = {f"releases/{one}" for one in releases if f"releases/{one}/release.json" not in keys}
        return sorted(bare | {key for key in keys if key.startswith("staging/")}) + self.uploads()


@contextmanager
def object_backend(scheme: str) -> Iterator[ObjectBackend]:
    """An empty bucket, gone afterwards."""
    server = seaweed.server()
    bucket = seaweed.new_bucket(server)
    try:
        yield ObjectBackend(scheme, server, bucket)
    finally:
        seaweed.delete_bucket(server, bucket)
