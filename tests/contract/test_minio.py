"""A bucket behaves the same through boto3 and through the minio client, on a real server."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partialmethod
from pathlib import Path

import pytest
from minio import Minio

from provisioner.errors import (
    AccessDenied,
    NotFound,
    ProvisionError,
    StoreError,
    StoreFull,
    Unavailable,
    Unusable,
)
from provisioner.model import Digest
from provisioner.report import Evidence
from provisioner.stores.objects import minio as minio_store
from provisioner.stores.objects.bucket import Bucket, NoBucket, Part, UploadGone
from provisioner.stores.objects.minio import MinioBucket
from provisioner.stores.objects.s3 import S3Bucket
from tests.support import s3_fault_actions as acts
from tests.support import seaweed
from tests.support.hub_fixture import make
from tests.support.locks import MemorySource, document, snapshot
from tests.support.object_backend import ObjectBackend, environment
from tests.support.s3_faults import Fault, FaultyS3
from tests.support.seaweed import S3Server, cannot_serve
from tests.support.stores import findings, transfer

pytestmark = pytest.mark.skipif(bool(cannot_serve()), reason=cannot_serve() or "there is one")
MIB = 2**20
KINDS = ("s3", "minio")
SETTINGS = ("AWS_", "MINIO_", "MC_", "PROVISION_S3")
ODD = ("a b/c+d.txt", "ü/é ä.bin", "x=1&y/%41~!'()*.t", "日本/モデル.onnx")


@pytest.fixture(scope="module")
def server() -> S3Server:
    return seaweed.server()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing of this machine's settings."""
    for name in os.environ:
        if name.startswith(SETTINGS) and not name.startswith("PROVISION_TEST"):
            monkeypatch.delenv(name)
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


@pytest.fixture
def name(server: S3Server, home: Path) -> Iterator[str]:
    found = seaweed.new_bucket(server)
    yield found
    seaweed.delete_bucket(server, found)


def opened(kind: str, bucket: str, server: S3Server, patch: pytest.MonkeyPatch, endpoint: str | None = None) -> Bucket:
    for variable, value in environment(server, endpoint).items():
        patch.setenv(variable, value)
    return S3Bucket(bucket) if kind == "s3" else MinioBucket("", bucket)


@pytest.fixture(params=KINDS)
def bucket(request: pytest.FixtureRequest, name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return opened(request.param, name, server, monkeypatch)


@pytest.fixture
def ours(name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return opened("minio", name, server, monkeypatch)


def sha(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


def put(bucket: Bucket, key: str, content: bytes = b"content") -> None:
    assert bucket.write(key, content, sha(content))


def read(bucket: Bucket, key: str, start: int, stop: int) -> bytes:
    found = bytearray()
    buffer = bytearray(65536)
    with bucket.read(key, start, stop) as stream:
        while count := stream.readinto(memoryview(buffer)):
            found += buffer[:count]
    return bytes(found)


def test_what_was_written_is_there(bucket: Bucket) -> None:
    content = os.urandom(200_000)
    put(bucket, "a/b.bin", content)
    found = bucket.stat("a/b.bin")
    assert (found.size, found.sha256) == (len(content), sha(content))
    assert read(bucket, "a/b.bin", 0, len(content)) == content
    assert read(bucket, "a/b.bin", 70_000, 170_001) == content[70_000:170_001]
    assert [(one.key, one.size) for one in bucket.list("a/")] == [("a/b.bin", len(content))]
    assert abs(next(iter(bucket.list(""))).modified - found.modified) < 2 < found.modified


def test_an_empty_object(bucket: Bucket) -> None:
    put(bucket, "empty", b"")
    assert bucket.stat("empty").size == 0 and bucket.stat("empty").sha256 == sha(b"")
    assert read(bucket, "empty", 0, 0) == b""
    bucket.copy("empty", "copy", 0, sha(b""))
    assert [(one.key, one.size) for one in bucket.list("")] == [("copy", 0), ("empty", 0)]


def test_keys_with_spaces_and_of_other_scripts(bucket: Bucket, server: S3Server) -> None:
    for key in ODD:
        put(bucket, key, key.encode())
        assert read(bucket, key, 0, len(key.encode())) == key.encode()
        bucket.copy(key, f"copies/{key}", len(key.encode()), sha(key.encode()))
        assert bucket.stat(f"copies/{key}").sha256 == sha(key.encode())
    assert sorted(one.key for one in bucket.list("copies/")) == sorted(f"copies/{key}" for key in ODD)
    assert sorted(bucket.folders("copies/")) == sorted(key.partition("/")[0] for key in ODD)
    # SeaweedFS says that it encodes the keys of uploads, and does not; the minio client then decodes them.
    is_raw = isinstance(bucket, MinioBucket) and server.data_dir is not None
    for key in ODD:
        assert [one.key for one in bucket.list(key)] == [key]
        upload = bucket.begin(key, sha(b"part"))
        part = bucket.write_part(key, upload, 1, memoryview(b"part"))
        if not (is_raw and set("+%") & set(key)):
            assert [one.key for one in bucket.uploads(key)] == [key]
        bucket.finish(key, upload, (part,))
        assert read(bucket, key, 0, 4) == b"part"
    bucket.delete(ODD)
    assert [one.key for one in bucket.list("") if not one.key.startswith("copies/")] == []


def test_long_listings_and_deletions(name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [opened(kind, name, server, monkeypatch) for kind in KINDS]
    keys = [f"many/{number % 7}/{number:04d}" for number in range(1010)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: put(both[1], key, b"x"), keys))
    put(both[0], "maybe", b"")
    for bucket in both:
        assert [one.key for one in bucket.list("many/")] == sorted(keys)
        assert sorted(bucket.folders("many/")) == [str(number) for number in range(7)]
    for bucket, half in zip(both, (keys[:5], keys[5:]), strict=True):
        bucket.delete(["was/never/there", *half])
    assert [one.key for one in both[0].list("")] == ["maybe"]


def test_only_one_of_many_writes_a_new_object(bucket: Bucket) -> None:
    contents = [f"writer {number}".encode() for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(lambda content: bucket.write("one", content, sha(content), only_new=True), contents))
    assert sum(won) == 1
    winner = contents[won.index(True)]
    assert read(bucket, "one", 0, len(winner)) == winner


def test_a_copy_has_the_digest_that_it_was_given(bucket: Bucket) -> None:
    put(bucket, "from")
    bucket.copy("from", "to/there", 7, sha(b"content"))
    assert read(bucket, "to/there", 0, 7) == b"content"
    assert bucket.stat("to/there").sha256 == sha(b"content")
    with pytest.raises(NotFound):
        bucket.copy("nowhere", "to/there", 7, sha(b"content"))
    assert read(bucket, "to/there", 0, 7) == b"content"


def test_a_large_object_is_copied_in_parts(ours: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minio_store, "COPY_AT_ONCE", 5 * MIB)
    content = os.urandom(12 * MIB + 17)
    put(ours, "from ä", content)
    ours.copy("from ä", "to", len(content), sha(content))
    assert read(ours, "to", 0, len(content)) == content
    assert ours.stat("to").sha256 == sha(content)
    with pytest.raises(NotFound):
        ours.copy("nowhere", "other", len(content), sha(content))
    assert list(ours.uploads("")) == []


def test_an_upload_in_parts(bucket: Bucket) -> None:
    first, last = os.urandom(5 * MIB), os.urandom(1000)
    upload = bucket.begin("dir/large", sha(first + last))
    second_part = bucket.write_part("dir/large", upload, 2, memoryview(last))
    first_part = bucket.write_part("dir/large", upload, 1, memoryview(first))
    assert first_part.etag == hashlib.md5(first).hexdigest()
    assert [(part.number, part.size, part.etag) for part in bucket.parts("dir/large", upload)] == [
        (part.number, part.size, part.etag) for part in (first_part, second_part)
    ]
    assert [(one.key, one.id) for one in bucket.uploads("dir/")] == [("dir/large", upload)]
    assert list(bucket.list("")) == []
    bucket.finish("dir/large", upload, (first_part, second_part))
    assert read(bucket, "dir/large", 0, 5 * MIB + 1000) == first + last
    assert bucket.stat("dir/large").sha256 == sha(first + last)
    assert list(bucket.uploads("")) == []


def in_small_pages(bucket: Bucket, patch: pytest.MonkeyPatch) -> None:
    """The server's own pages of 1,000 would take long to fill."""
    if isinstance(bucket, S3Bucket):
        events = bucket._client.meta.events
        events.register("provide-client-params.s3.ListParts", lambda params, **_: {**params, "MaxParts": 3})
        events.register(
            "provide-client-params.s3.ListMultipartUploads", lambda params, **_: {**params, "MaxUploads": 3}
        )
        return
    for method, option in (("_list_parts", "max_parts"), ("_list_multipart_uploads", "max_uploads")):
        patch.setattr(Minio, method, partialmethod(getattr(Minio, method), **{option: 3}))


def test_parts_and_uploads_are_listed_whole(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_pages(bucket, monkeypatch)
    upload = bucket.begin("parts", sha(b""))
    for number in range(1, 11):
        bucket.write_part("parts", upload, number, memoryview(b"x"))
    assert [part.number for part in bucket.parts("parts", upload)] == list(range(1, 11))
    begun = [bucket.begin(f"up/{number % 2}", sha(b"")) for number in range(10)]  # a page ends among those of one key
    assert sorted(one.id for one in bucket.uploads("up/")) == sorted(begun)


def test_an_abandoned_upload_is_gone(bucket: Bucket) -> None:
    upload = bucket.begin("key", sha(b"x"))
    part = bucket.write_part("key", upload, 1, memoryview(b"x"))
    bucket.abandon("key", upload)
    bucket.abandon("key", upload)
    assert list(bucket.uploads("")) == []
    with pytest.raises(UploadGone):
        bucket.write_part("key", upload, 2, memoryview(b"x"))
    with pytest.raises(UploadGone):
        list(bucket.parts("key", upload))
    with pytest.raises(UploadGone):
        bucket.finish("key", upload, (part,))
    assert list(bucket.list("")) == []


def test_an_upload_with_other_parts_is_gone(bucket: Bucket) -> None:
    upload = bucket.begin("key", sha(b"x"))
    part = bucket.write_part("key", upload, 1, memoryview(b"x"))

    other_etag = hashlib.md5(b"z").hexdigest()
    for other in ((Part(1, 1, other_etag, part.checksum),), (Part(2, 1, part.etag, part.checksum),)):
        with pytest.raises(UploadGone):
            bucket.finish("key", upload, other)
    assert list(bucket.list("")) == []


def test_what_is_not_there(bucket: Bucket) -> None:
    with pytest.raises(NotFound):
        bucket.stat("nothing")
    with pytest.raises(NotFound), bucket.read("nothing", 0, 5):
        pass
    assert list(bucket.list("nothing")) == []
    assert bucket.folders("nothing/") == ()
    bucket.delete(["nothing"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_bucket_that_is_not_there(kind: str, home: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = opened(kind, "no-such-bucket-at-all", server, monkeypatch)
    calls: list[Callable[[], object]] = [
        lambda: list(bucket.list("")),
        lambda: bucket.folders(""),
        lambda: list(bucket.uploads("")),
        lambda: bucket.delete(["key"]),
        lambda: bucket.begin("key", sha(b"x")),
        lambda: bucket.write("key", b"x", sha(b"x")),
    ]
    for call in calls:
        with pytest.raises(NoBucket):
            call()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["AWS_ACCESS_KEY_ID MINIO_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY MINIO_SECRET_KEY"])
def test_wrong_keys_are_refused(
    kind: str, key: str, name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(kind, name, server, monkeypatch)
    for variable in key.split():
        monkeypatch.setenv(variable, "wrong-key-of-nobody")
    bucket = S3Bucket(name) if kind == "s3" else MinioBucket("", name)
    calls: list[Callable[[], object]] = [
        lambda: list(bucket.list("")),
        lambda: bucket.stat("key"),
        lambda: bucket.write("key", b"x", sha(b"x")),
        lambda: bucket.begin("key", sha(b"x")),
    ]
    for call in calls:
        with pytest.raises(AccessDenied) as caught:
            call()
        assert "wrong-key" not in said(caught.value) and server.secret_key not in said(caught.value)


def said(error: BaseException) -> str:
    """All that a traceback would show."""
    own = f"{error} {error!r} {error.hint if isinstance(error, ProvisionError) else ''}"
    return own + (said(error.__cause__) if error.__cause__ else "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_must_not_write(kind: str, name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    if not server.reader:
        pytest.skip("this server has no user who may only read")
    put(opened("s3", name, server, monkeypatch), "key")
    opened(kind, name, server, monkeypatch)
    for prefix, names in (("AWS", ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")), ("MINIO", ("ACCESS_KEY", "SECRET_KEY"))):
        for variable, value in zip(names, server.reader, strict=True):
            monkeypatch.setenv(f"{prefix}_{variable}", value)
    bucket = S3Bucket(name) if kind == "s3" else MinioBucket("", name)
    assert read(bucket, "key", 0, 7) == b"content"
    for call in (
        lambda: put(bucket, "new"),
        lambda: bucket.delete(["key"]),
        lambda: bucket.copy("key", "k", 7, sha(b"")),
    ):
        with pytest.raises(AccessDenied):
            call()
    assert [one.key for one in bucket.list("")] == ["key"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_has_other_bytes_is_found_out(
    kind: str, name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyS3(server.endpoint) as proxy:
        bucket = opened(kind, name, server, monkeypatch, proxy.endpoint)
        upload = bucket.begin("part", sha(b"x"))
        lie = acts.SetHeaders({"ETag": f'"{"0" * 32}"', "x-amz-checksum-crc32": "", "x-amz-checksum-sha256": ""})
        proxy.faults.append(Fault(lie, method="PUT", times=None))
        with pytest.raises(StoreError):
            bucket.write("whole", b"x", sha(b"x"))
        with pytest.raises(StoreError):
            bucket.write_part("part", upload, 1, memoryview(b"x"))


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_damaged_on_the_way_are_refused_and_sent_again(
    kind: str, name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyS3(server.endpoint) as proxy:
        bucket = opened(kind, name, server, monkeypatch, proxy.endpoint)
        upload = bucket.begin("part", sha(b"content"))
        proxy.faults.append(Fault(acts.FlipRequest(), method="PUT", key="whole"))
        proxy.faults.append(Fault(acts.FlipRequest(), method="PUT", key="part"))
        put(bucket, "whole")
        part = bucket.write_part("part", upload, 1, memoryview(b"content"))
        bucket.finish("part", upload, (part,))
        assert [fault.hits for fault in proxy.faults] == [1, 1]
        assert read(bucket, "whole", 0, 7) == read(bucket, "part", 0, 7) == b"content"


@pytest.mark.parametrize("kind", KINDS)
def test_a_busy_server_is_asked_again(kind: str, name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyS3(server.endpoint) as proxy:
        bucket = opened(kind, name, server, monkeypatch, proxy.endpoint)
        put(bucket, "key")
        proxy.faults += [
            Fault(acts.slow_down(retry_after=0), method="HEAD"),
            Fault(acts.internal_error(), query="list-type=2"),
            Fault(acts.slow_down(retry_after=0), method="POST"),
            Fault(acts.LoseAnswer(), method="DELETE"),
        ]
        assert bucket.stat("key").size == 7
        assert [one.key for one in bucket.list("")] == ["key"]
        bucket.abandon("up", bucket.begin("up", sha(b"x")))
        assert [fault.hits for fault in proxy.faults] == [1, 1, 1, 1]
        assert list(bucket.uploads("")) == []


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (acts.expired_token(), AccessDenied),
        (acts.clock_skewed(), AccessDenied),
        (acts.access_denied(), AccessDenied),
        (acts.storage_full(), StoreFull),
    ],
)
def test_answers_become_our_errors(
    action: acts.Action, expected: type[ProvisionError], name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyS3(server.endpoint) as proxy:
        bucket = opened("minio", name, server, monkeypatch, proxy.endpoint)
        list(bucket.list(""))
        proxy.faults.append(Fault(action, times=None))
        for call in (lambda: bucket.begin("key", sha(b"x")), lambda: list(bucket.list(""))):
            with pytest.raises(expected):
                call()


def test_a_failure_after_the_200_is_one(name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyS3(server.endpoint) as proxy:
        bucket = opened("minio", name, server, monkeypatch, proxy.endpoint)
        put(bucket, "from")
        upload = bucket.begin("key", sha(b"x"))
        part = bucket.write_part("key", upload, 1, memoryview(b"x"))
        proxy.faults.append(Fault(acts.error_in_200(), key="/key", method="POST"))
        with pytest.raises(Unavailable) as caught:
            bucket.finish("key", upload, (part,))
        assert caught.value.retryable
        bucket.finish("key", upload, (part,))
        proxy.faults.append(Fault(acts.error_in_200(), key="/to", method="PUT"))
        with pytest.raises(Unavailable) as caught:
            bucket.copy("from", "to", 7, sha(b"content"))
        assert caught.value.retryable


def test_a_policy_need_not_tell_where_the_bucket_is(
    name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyS3(server.endpoint) as proxy:
        bucket = opened("minio", name, server, monkeypatch, proxy.endpoint)
        proxy.faults.append(Fault(acts.access_denied(), query="location", times=None))
        put(bucket, "key")
        assert [one.key for one in bucket.list("")] == ["key"]
        assert proxy.count(query="location") == 1


def test_a_token_is_sent_and_signed(name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyS3(server.endpoint) as proxy:
        monkeypatch.setenv("MINIO_SESSION_TOKEN", "token-of-a-session")
        bucket = opened("minio", name, server, monkeypatch, proxy.endpoint)
        for call in (lambda: list(bucket.list("")), lambda: put(bucket, "key")):
            try:
                call()
            except AccessDenied as error:  # the server knows no such session
                assert "token-of" not in said(error)
        assert proxy.log and all("x-amz-security-token" in one.headers for one in proxy.log)


def test_tls_with_a_private_ca(name: str, server: S3Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not server.tls_endpoint or not server.ca_file:
        pytest.skip("this server is not known to speak TLS")
    monkeypatch.setenv("MINIO_ACCESS_KEY", server.access_key)
    monkeypatch.setenv("MINIO_SECRET_KEY", server.secret_key)
    host = server.tls_endpoint.partition("://")[2]
    with pytest.raises(Unusable, match="certificate"):
        list(MinioBucket(host, name).list(""))
    with monkeypatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(server.ca_file))
        put(MinioBucket(host, name), "key")
    folder = home / ".mc" / "certs" / "CAs"
    folder.mkdir(parents=True)
    (folder / "ours.crt").write_bytes(server.ca_file.read_bytes())
    (folder / "README").write_text("no certificate")
    assert read(MinioBucket(host, name), "key", 0, 7) == b"content"


def test_a_server_without_tls_is_named_as_such(name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIO_ACCESS_KEY", server.access_key)
    monkeypatch.setenv("MINIO_SECRET_KEY", server.secret_key)
    scheme, _, host = server.endpoint.partition("://")
    if scheme == "https":
        pytest.skip("this server speaks TLS")
    with pytest.raises(Unusable) as caught:
        list(MinioBucket(host, name).list(""))
    assert "MINIO_SECURE=false" in caught.value.hint
    monkeypatch.setenv("MINIO_SECURE", "false")
    put(MinioBucket(host, name), "key")


def test_tls_where_http_was_asked_for(name: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    if not server.tls_endpoint:
        pytest.skip("this server is not known to speak TLS")
    monkeypatch.setenv("MINIO_ENDPOINT", server.tls_endpoint.replace("https", "http"))
    monkeypatch.setenv("MINIO_ACCESS_KEY", server.access_key)
    monkeypatch.setenv("MINIO_SECRET_KEY", server.secret_key)
    with pytest.raises(Unusable) as caught:
        list(MinioBucket("", name).list(""))
    assert "TLS" in caught.value.hint


def test_a_server_that_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioner.stores.objects.minio_client.ATTEMPTS", 2)
    monkeypatch.setenv("MINIO_ACCESS_KEY", "access")
    monkeypatch.setenv("MINIO_SECRET_KEY", "secret-of-somebody")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable) as caught:
            list(MinioBucket(f"127.0.0.1:{taken.getsockname()[1]}", "bucket").list(""))
    assert caught.value.retryable and "refuses" in str(caught.value)
    assert "secret-of" not in said(caught.value)


def test_the_aliases_of_mc(name: str, server: S3Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheme, _, host = server.endpoint.partition("://")
    monkeypatch.setenv("MC_HOST_house", f"{scheme}://{server.access_key}:{server.secret_key}@{host}")
    put(MinioBucket("house", name), "by-variable")
    entry = {"url": server.endpoint, "accessKey": server.access_key, "secretKey": server.secret_key, "api": "S3v4"}
    (home / ".mc").mkdir()
    (home / ".mc" / "config.json").write_text(json.dumps({"version": "10", "aliases": {"filed": entry}}))
    bucket = MinioBucket("filed", name)
    assert bucket.name == f"minio://filed/{name}"
    assert [one.key for one in bucket.list("")] == ["by-variable"]


def test_a_release_from_end_to_end(name: str, server: S3Server) -> None:
    made = make("org/model", {"config.json": b"{}", "model ä.bin": os.urandom(20 * MIB), "empty.txt": b""})
    backend = ObjectBackend("minio", server, name)
    first = transfer(document(made), backend.open(), MemorySource(made)).report
    store = backend.open()
    assert store.releases() == (first.release,)
    assert findings(store, first.release) == findings(store, first.release, Evidence.RECORDED) == {}
    for path, content in made.content.items():
        assert backend.read(first.release, snapshot(made, path)) == content
    assert not transfer(document(made), backend.open(), MemorySource(made)).report.changed
    other = make("org/model", {**made.content, "config.json": b"{ }"}, salt="next")
    source = MemorySource(other)
    second = transfer(document(other), backend.open(), source).report
    assert "model ä.bin" not in {path for path, _, _ in source.asked} and second.shared
    assert findings(store, second.release) == {}
    backend.overwrite(second.release, snapshot(other, "config.json"), b"{x}")
    assert list(findings(store, second.release).values()) == ["digest"]
    assert sorted(backend.open().releases()) == sorted((first.release, second.release))
    assert backend.unfinished() == []
