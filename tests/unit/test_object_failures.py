"""What an S3 error means to us."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any

import pytest

from provisioner.errors import AccessDenied, InvalidInput, NotFound, StoreError, StoreFull, Unavailable, Unusable
from provisioner.stores.objects.bucket import NoBucket, UploadGone
from provisioner.stores.objects.failures import failure

STORE = "s3://models"


@pytest.mark.parametrize(
    ("status", "code", "kind", "exit_code", "retryable"),
    [
        (404, "NoSuchBucket", NoBucket, 7, False),
        (404, "NoSuchKey", NotFound, 7, False),
        (404, "", NotFound, 7, False),
        (404, "NoSuchUpload", UploadGone, 5, True),
        (400, "InvalidPart", UploadGone, 5, True),
        (403, "AccessDenied", AccessDenied, 6, False),
        (403, "InvalidAccessKeyId", AccessDenied, 6, False),
        (403, "SignatureDoesNotMatch", AccessDenied, 6, False),
        (403, "", AccessDenied, 6, False),
        (401, "", AccessDenied, 6, False),
        (400, "ExpiredToken", AccessDenied, 6, False),
        (403, "ExpiredToken", AccessDenied, 6, False),
        (403, "RequestTimeTooSkewed", AccessDenied, 6, False),
        (507, "XMinioStorageFull", StoreFull, 8, False),
        (400, "XMinioAdminBucketQuotaExceeded", StoreFull, 8, False),
        (507, "", StoreFull, 8, False),
        (405, "MethodNotAllowed", StoreError, 8, False),
        (405, "", StoreError, 8, False),
        (403, "ObjectLocked", StoreError, 8, False),
        (503, "SlowDown", Unavailable, 5, True),
        (429, "", Unavailable, 5, True),
        (500, "InternalError", Unavailable, 5, True),
        (502, "", Unavailable, 5, True),
        (409, "ConditionalRequestConflict", Unavailable, 5, True),
        (400, "BadDigest", Unavailable, 5, True),
        (301, "PermanentRedirect", InvalidInput, 4, False),
        (307, "", InvalidInput, 4, False),
        (400, "AuthorizationHeaderMalformed", InvalidInput, 4, False),
        (501, "NotImplemented", Unusable, 5, False),
        (418, "", Unusable, 5, False),
    ],
)
def test_codes_and_statuses(status: int, code: str, kind: type[Exception], exit_code: int, retryable: bool) -> None:
    found = failure(status, code, "releases/x/config.json", STORE, 3.0)
    assert isinstance(found, kind)
    assert (found.exit_code, found.retryable) == (exit_code, retryable)
    assert str(found).endswith(".")
    assert found.hint or retryable or exit_code == 7
    if code == "SlowDown":
        assert isinstance(found, Unavailable)
        assert found.retry_after == 3.0


@pytest.mark.parametrize(("off", "word"), [(3600, "behind"), (-3600, "ahead")])
def test_a_wrong_clock_is_named_with_its_seconds(off: int, word: str) -> None:
    text = str(failure(403, "RequestTimeTooSkewed", "x", STORE, None, formatdate(time.time() + off, usegmt=True)))
    seconds = int(text.partition("machine is ")[2].partition(" s ")[0])
    assert abs(seconds - 3600) < 60
    assert word in text


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 2026"])
def test_a_date_that_is_none_is_left_out(date: str) -> None:
    assert "machine" not in str(failure(403, "RequestTimeTooSkewed", "x", STORE, None, date))


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    pytest.importorskip("boto3", reason="boto3 is not installed")
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AK",
        "AWS_SECRET_ACCESS_KEY": "SK-secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.mark.parametrize("endpoint", ["localhost:9000", "http://a b", "minio"])
def test_an_endpoint_that_is_no_url_is_an_error_in_the_settings(amazon: pytest.MonkeyPatch, endpoint: str) -> None:
    from provisioner.stores.targets import open_store

    amazon.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(InvalidInput, match="AWS_ENDPOINT_URL"):
        open_store("s3://models")


def test_an_endpoint_that_nobody_listens_at_may_come_back(amazon: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import EndpointConnectionError

    from provisioner.stores.objects.s3_client import translated

    with pytest.raises(Unavailable) as found, translated(STORE, STORE):
        raise EndpointConnectionError(endpoint_url="http://user:password@127.0.0.1:9/?X-Amz-Signature=abc", error="no")
    assert found.value.retryable
    assert "password" not in str(found.value)
    assert "Signature" not in str(found.value)


@pytest.mark.parametrize(
    ("headers", "kind"), [({}, AccessDenied), ({"x-amz-bucket-region": "eu-west-1"}, InvalidInput)]
)
def test_a_head_answered_400_is_an_expired_token_or_another_region(headers: dict[str, str], kind: Any) -> None:
    """The answer to a HEAD has no body; S3 names the region where that is what is wrong."""
    from botocore.exceptions import ClientError

    from provisioner.stores.objects.s3_client import translated

    answer: Any = {
        "Error": {"Code": "400", "Message": "Bad Request"},
        "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": headers},
    }
    with pytest.raises(kind), translated(STORE, "key"):
        raise ClientError(answer, "HeadObject")
