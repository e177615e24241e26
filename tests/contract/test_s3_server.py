"""The S3 server and the fault proxy of the tests do what they claim, seen by real clients."""

from __future__ import annotations

import base64
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    FlexibleChecksumError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from minio import Minio
from minio.error import S3Error
from urllib3 import PoolManager, Retry

from tests.support import s3_fault_actions as acts
from tests.support.patience import until
from tests.support.s3_faults import Fault, FaultyS3
from tests.support.seaweed import (
    S3Server,
    cannot_serve,
    client,
    delete_bucket,
    flip_at_rest,
    new_bucket,
    overwrite,
    server,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.skipif(bool(cannot_serve()), reason=cannot_serve() or "there is one")
MIB = 2**20


@pytest.fixture(scope="module")
def s3server() -> S3Server:
    return server()


@pytest.fixture
def bucket(s3server: S3Server) -> Iterator[str]:
    name = new_bucket(s3server)
    yield name
    delete_bucket(s3server, name)


@pytest.fixture
def s3(s3server: S3Server) -> S3Client:
    return client(s3server)


@pytest.fixture
def proxy(s3server: S3Server) -> Iterator[FaultyS3]:
    if not s3server.endpoint.startswith("http:"):
        pytest.skip("the proxy speaks plain http only")
    with FaultyS3(s3server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def through(s3server: S3Server, proxy: FaultyS3) -> S3Client:
    """A client that tries once and does not compare checksums by itself."""
    return client(s3server, proxy.endpoint, response_checksum_validation="when_required")


@pytest.fixture
def ours(s3server: S3Server) -> S3Server:
    if s3server.data_dir is None:
        pytest.skip("only for the server that the tests start")
    return s3server


def minio(server: S3Server, endpoint: str) -> Minio:
    return Minio(
        endpoint.partition("//")[2],
        access_key=server.access_key,
        secret_key=server.secret_key,
        region=server.region,
        secure=endpoint.startswith("https:"),
        http_client=PoolManager(retries=Retry(total=0), ca_certs=str(server.ca_file) if server.ca_file else None),
    )


def error_of(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def upload(s3: S3Client, bucket: str, key: str, parts: list[bytes], **complete: Any) -> None:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    done: list[Any] = []
    for number, part in enumerate(parts, 1):
        answer = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=part)
        done.append({"PartNumber": number, "ETag": answer["ETag"]})
    s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": done}, **complete
    )


def read(s3: S3Client, bucket: str, key: str) -> bytes:
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


class TestServer:
    def test_multipart_and_metadata(self, s3: S3Client, bucket: str) -> None:
        parts = [os.urandom(5 * MIB), b"the end"]
        upload(s3, bucket, "a folder/ü.bin", parts)
        assert read(s3, bucket, "a folder/ü.bin") == b"".join(parts)
        s3.put_object(Bucket=bucket, Key="m", Body=b"1", Metadata={"sha256": "abc"})
        assert s3.head_object(Bucket=bucket, Key="m")["Metadata"] == {"sha256": "abc"}

    def test_one_of_many_wins_if_none_match(self, s3server: S3Server, s3: S3Client, bucket: str) -> None:
        def put(number: int) -> int:
            try:
                s3.put_object(Bucket=bucket, Key="only", Body=b"%d" % number, IfNoneMatch="*")
            except ClientError as error:
                assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412)
                return -1
            return number

        with ThreadPoolExecutor(8) as pool:
            winners = [number for number in pool.map(put, range(16)) if number >= 0]
        assert len(winners) == 1
        assert read(s3, bucket, "only") == b"%d" % winners[0]

    def test_if_none_match_on_complete(self, s3: S3Client, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="there", Body=b"first")
        with pytest.raises(ClientError) as caught:
            upload(s3, bucket, "there", [b"second"], IfNoneMatch="*")
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
        assert read(s3, bucket, "there") == b"first"

    def test_lists_more_than_a_page(self, s3server: S3Server, s3: S3Client, bucket: str) -> None:
        names, quick = [f"n/{number:04}" for number in range(1005)], minio(s3server, s3server.endpoint)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: quick.put_object(bucket, name, BytesIO(), 0), names))
        first = s3.list_objects_v2(Bucket=bucket)
        assert (first["KeyCount"], first["IsTruncated"]) == (1000, True)
        assert [entry.object_name for entry in quick.list_objects(bucket, recursive=True)] == names

    def test_wrong_checksum_is_refused(self, s3: S3Client, bucket: str) -> None:
        wrong = base64.b64encode(zlib.crc32(b"else").to_bytes(4)).decode()
        for given in ({"ChecksumCRC32": wrong}, {"ContentMD5": base64.b64encode(bytes(16)).decode()}):
            status, _ = error_of(s3.put_object, Bucket=bucket, Key="k", Body=b"this", **given)
            assert status == 400
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)

    def test_no_bucket_and_bad_keys(self, s3server: S3Server, s3: S3Client) -> None:
        assert error_of(s3.put_object, Bucket="never-made-bucket", Key="k", Body=b"") == (404, "NoSuchBucket")
        stranger = S3Server(s3server.endpoint, s3server.access_key, "wrong", s3server.region)
        assert error_of(client(stranger).list_buckets)[0] == 403

    def test_reader_may_not_write(self, ours: S3Server, s3: S3Client, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"1")
        assert ours.reader
        reader = client(S3Server(ours.endpoint, *ours.reader, ours.region))
        assert read(reader, bucket, "k") == b"1"
        assert error_of(reader.put_object, Bucket=bucket, Key="k", Body=b"2") == (403, "AccessDenied")
        assert read(s3, bucket, "k") == b"1"

    def test_tls_needs_its_ca(self, ours: S3Server, bucket: str) -> None:
        assert ours.tls_endpoint
        client(ours, ours.tls_endpoint).put_object(Bucket=bucket, Key="k", Body=b"1")
        assert minio(ours, ours.tls_endpoint).stat_object(bucket, "k").size == 1
        unaware = S3Server(ours.tls_endpoint, ours.access_key, ours.secret_key, ours.region)
        with pytest.raises(SSLError):
            client(unaware).list_buckets()

    def test_delete_bucket_takes_everything(self, s3server: S3Server, s3: S3Client) -> None:
        name = new_bucket(s3server)
        s3.put_object(Bucket=name, Key="a/b", Body=b"1")
        s3.create_multipart_upload(Bucket=name, Key="unfinished")
        delete_bucket(s3server, name)
        assert name not in [found["Name"] for found in s3.list_buckets()["Buckets"]]

    def test_overwrite_keeps_metadata(self, s3server: S3Server, s3: S3Client, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"right", Metadata={"sha256": "of right"})
        overwrite(s3server, bucket, "k", b"wrong")
        assert read(s3, bucket, "k") == b"wrong"
        assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"sha256": "of right"}


class TestDamageAtRest:
    def test_delivered_with_the_old_etag(self, ours: S3Server, bucket: str) -> None:
        s3 = client(ours, response_checksum_validation="when_required")
        content = os.urandom(1000)
        tag = s3.put_object(Bucket=bucket, Key="k", Body=content)["ETag"]
        flip_at_rest(ours, bucket, content[:64])
        answer = s3.get_object(Bucket=bucket, Key="k")
        assert [at for at, byte in enumerate(answer["Body"].read()) if byte != content[at]] == [32]
        assert answer["ETag"] == tag

    def test_found_by_a_client_that_compares_checksums(self, ours: S3Server, s3: S3Client, bucket: str) -> None:
        content = os.urandom(1000)
        s3.put_object(Bucket=bucket, Key="k", Body=content)
        flip_at_rest(ours, bucket, content)
        with pytest.raises(FlexibleChecksumError):
            read(s3, bucket, "k")

    def test_noticed_by_the_server(self, ours: S3Server, bucket: str) -> None:
        content = os.urandom(1000)
        client(ours).put_object(Bucket=bucket, Key="k", Body=content)
        flip_at_rest(ours, bucket, content, noticed=True)
        with pytest.raises((ReadTimeoutError, ClientError)):  # it tries again for 13 s before it says 500
            read(client(ours, read_timeout=1), bucket, "k")

    def test_bytes_that_are_not_there(self, ours: S3Server, bucket: str) -> None:
        with pytest.raises(LookupError):
            flip_at_rest(ours, bucket, os.urandom(32))


class TestProxy:
    def test_passes_everything_on(self, s3server: S3Server, proxy: FaultyS3, s3: S3Client, bucket: str) -> None:
        content, through = os.urandom(300_000), client(s3server, proxy.endpoint)
        through.put_object(Bucket=bucket, Key="a b/ü+.bin", Body=content, Metadata={"sha256": "x"})
        assert read(through, bucket, "a b/ü+.bin") == content
        assert s3.head_object(Bucket=bucket, Key="a b/ü+.bin")["Metadata"] == {"sha256": "x"}
        put = proxy.requests("PUT", f"/{bucket}/a b/ü+.bin")[0]
        assert (put.status, put.sent >= len(content)) == (200, True)
        assert {"authorization", "x-amz-meta-sha256"} <= set(put.headers)
        assert proxy.requests("GET", "ü+")[0].received == len(content)
        upload(through, bucket, "multi", [bytes(5 * MIB), b"end"])
        assert proxy.count("PUT", query="partNumber=2") == 1

    def test_passes_minio_on(self, s3server: S3Server, proxy: FaultyS3, s3: S3Client, bucket: str) -> None:
        content, through = os.urandom(6 * MIB), minio(s3server, proxy.endpoint)
        through.put_object(bucket, "a b/ü+.bin", BytesIO(content), len(content), part_size=5 * MIB)
        assert read(s3, bucket, "a b/ü+.bin") == content
        answer = through.get_object(bucket, "a b/ü+.bin", 5 * MIB - 2, 4)
        assert answer.read() == content[5 * MIB - 2 : 5 * MIB + 2]
        answer.close()
        assert [entry.object_name for entry in through.list_objects(bucket, "a b/")] == ["a b/ü+.bin"]
        assert proxy.count("PUT", query="partNumber=2") == 1

    @pytest.mark.parametrize(
        ("answer", "status", "code"),
        [
            (acts.slow_down(), 503, "SlowDown"),
            (acts.internal_error(), 500, "InternalError"),
            (acts.expired_token(), 400, "ExpiredToken"),
            (acts.clock_skewed(), 403, "RequestTimeTooSkewed"),
            (acts.access_denied(), 403, "AccessDenied"),
            (acts.storage_full(), 507, "XMinioStorageFull"),
            (acts.quota_exceeded(), 400, "XMinioAdminBucketQuotaExceeded"),
            (acts.read_only(), 405, "MethodNotAllowed"),
            (acts.not_implemented(), 501, "NotImplemented"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_answers(
        self,
        s3server: S3Server,
        proxy: FaultyS3,
        through: S3Client,
        s3: S3Client,
        bucket: str,
        answer: acts.Answer,
        status: int,
        code: str,
    ) -> None:
        proxy.faults.append(Fault(answer, method="PUT", times=2))
        body = bytes(2 * MIB)
        assert error_of(through.put_object, Bucket=bucket, Key="k", Body=body) == (status, code)
        with pytest.raises(S3Error) as caught:
            minio(s3server, proxy.endpoint).put_object(bucket, "k", BytesIO(body), len(body))
        assert caught.value.code == code
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
        through.put_object(Bucket=bucket, Key="k", Body=body)
        assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == len(body)

    def test_retry_after_and_head(self, proxy: FaultyS3, through: S3Client, bucket: str) -> None:
        proxy.faults.append(Fault(acts.slow_down(7), times=None))
        with pytest.raises(ClientError) as caught:
            through.list_objects_v2(Bucket=bucket)
        assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "7"
        assert error_of(through.head_object, Bucket=bucket, Key="k") == (503, "503")

    def test_error_in_200(self, proxy: FaultyS3, through: S3Client, s3: S3Client, bucket: str) -> None:
        proxy.faults.append(Fault(acts.error_in_200(), method="POST", query="uploadId"))
        with pytest.raises(ClientError) as caught:
            upload(through, bucket, "k", [b"1"])
        assert caught.value.response["Error"]["Code"] == "InternalError"
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)

    def test_which_requests_are_hit(self, proxy: FaultyS3, through: S3Client, bucket: str) -> None:
        second = Fault(acts.internal_error(), method="PUT", key="/x y", nth=2, times=1)
        proxy.faults.append(second)
        through.put_object(Bucket=bucket, Key="other", Body=b"")
        through.put_object(Bucket=bucket, Key="x y", Body=b"")
        assert error_of(through.put_object, Bucket=bucket, Key="x y", Body=b"")[0] == 500
        through.put_object(Bucket=bucket, Key="x y", Body=b"")
        assert second.hits == 1
        assert [request.status for request in proxy.requests("PUT")] == [200, 200, 500, 200]

    def test_request_cut(self, proxy: FaultyS3, through: S3Client, s3: S3Client, bucket: str) -> None:
        proxy.faults.append(Fault(acts.CutRequest(after=100_000), method="PUT"))
        with pytest.raises((ConnectionClosedError, EndpointConnectionError)):
            through.put_object(Bucket=bucket, Key="k", Body=bytes(8 * MIB))
        assert (proxy.log[0].status, proxy.log[0].sent) == (0, 100_000)
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)

    def test_response_cut(self, proxy: FaultyS3, through: S3Client, s3: S3Client, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=bytes(300_000))
        proxy.faults.append(Fault(acts.CutResponse(after=1000), method="GET"))
        body = through.get_object(Bucket=bucket, Key="k")["Body"]
        with pytest.raises(ResponseStreamingError):
            body.read()
        assert proxy.log[0].received == 1000

    def test_lost_answer(self, proxy: FaultyS3, through: S3Client, s3: S3Client, bucket: str) -> None:
        proxy.faults.append(Fault(acts.LoseAnswer(), method="PUT"))
        with pytest.raises(ConnectionClosedError):
            through.put_object(Bucket=bucket, Key="k", Body=b"done")
        assert read(s3, bucket, "k") == b"done"
        assert error_of(through.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")[0] == 412

    def test_lying_etag(self, proxy: FaultyS3, through: S3Client, s3: S3Client, bucket: str) -> None:
        proxy.faults.append(Fault(acts.SetHeaders({"ETag": '"lie"'}), times=None))
        assert through.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"] == '"lie"'
        assert through.head_object(Bucket=bucket, Key="k")["ETag"] == '"lie"'
        assert s3.head_object(Bucket=bucket, Key="k")["ETag"] != '"lie"'

    def test_flipped_on_the_way_out(self, s3server: S3Server, proxy: FaultyS3, through: S3Client, bucket: str) -> None:
        content = os.urandom(300_000)
        through.put_object(Bucket=bucket, Key="k", Body=content)
        proxy.faults.append(Fault(acts.FlipResponse(at=200_001), method="GET", times=None))
        damaged = read(through, bucket, "k")
        assert [at for at, byte in enumerate(damaged) if byte != content[at]] == [200_001]
        with pytest.raises(FlexibleChecksumError):
            read(client(s3server, proxy.endpoint), bucket, "k")

    def test_flipped_on_the_way_in(self, proxy: FaultyS3, through: S3Client, s3: S3Client, bucket: str) -> None:
        proxy.faults.append(Fault(acts.FlipRequest(at=5), method="PUT"))
        status, _ = error_of(through.put_object, Bucket=bucket, Key="k", Body=bytes(1000))
        assert status in (400, 403)  # the checksum or the signed payload hash
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)

    def test_no_checksums(self, proxy: FaultyS3, through: S3Client, bucket: str) -> None:
        through.put_object(Bucket=bucket, Key="k", Body=b"1", ChecksumAlgorithm="SHA256")
        assert "ChecksumSHA256" in through.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        proxy.faults.append(Fault(acts.DropHeaders(), times=None))
        assert "ChecksumSHA256" not in through.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        answer = through.put_object(Bucket=bucket, Key="k", Body=b"1", ChecksumAlgorithm="SHA256")
        assert "ChecksumSHA256" not in answer

    def test_conditions_ignored(
        self, s3server: S3Server, proxy: FaultyS3, through: S3Client, s3: S3Client, bucket: str
    ) -> None:
        s3.put_object(Bucket=bucket, Key="a key", Body=b"first")
        assert error_of(through.put_object, Bucket=bucket, Key="a key", Body=b"x", IfNoneMatch="*")[0] == 412
        proxy.faults.append(Fault(acts.IgnoreConditions(), times=None))
        through.put_object(Bucket=bucket, Key="a key", Body=b"second", IfNoneMatch="*", Metadata={"a": "b"})
        assert read(s3, bucket, "a key") == b"second"
        upload(through, bucket, "a key", [b"third"], IfNoneMatch="*")
        assert read(s3, bucket, "a key") == b"third"

    def test_stall(self, s3server: S3Server, proxy: FaultyS3, s3: S3Client, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=bytes(300_000))
        through = client(s3server, proxy.endpoint, read_timeout=0.5, response_checksum_validation="when_required")
        proxy.faults.append(Fault(acts.Stall(seconds=60), query="list-type"))
        proxy.faults.append(Fault(acts.Stall(seconds=60, after=1000), key="/k"))
        with pytest.raises(ReadTimeoutError):
            through.list_objects_v2(Bucket=bucket)
        with pytest.raises(ReadTimeoutError):
            through.get_object(Bucket=bucket, Key="k")["Body"].read()

    def test_counts_what_runs_at_once(self, s3server: S3Server, proxy: FaultyS3, bucket: str) -> None:
        through = client(s3server, proxy.endpoint)
        proxy.faults.append(Fault(acts.HoldUntil(lambda: proxy.most_at_once == 4), times=None))

        def put(number: int) -> None:
            through.put_object(Bucket=bucket, Key=f"k{number}", Body=bytes(100_000))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(put, range(4)))
        assert proxy.most_at_once == 4
        assert proxy.count("PUT") == 4

    def test_an_end_with_connections_open(self, s3server: S3Server, bucket: str) -> None:
        before = threading.enumerate()
        with FaultyS3(s3server.endpoint) as proxy:
            proxy.faults.append(Fault(acts.Stall(seconds=3600), times=None))
            through = client(s3server, proxy.endpoint, read_timeout=0.1)
            with pytest.raises(ReadTimeoutError):
                through.list_objects_v2(Bucket=bucket)
            until(lambda: proxy.log)
            its_own = [one for one in threading.enumerate() if one not in before]
            assert len(its_own) > 1
        assert not [one for one in its_own if one.is_alive()]
