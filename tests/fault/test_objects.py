"""A bucket behind a line that breaks and a server that fails or lies: the release is right, or it is not there."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import (
    AccessDenied,
    InvalidInput,
    ProvisionError,
    StoreError,
    StoreFull,
    Unavailable,
    VerificationFailed,
)
from provisioner.report import Evidence
from tests.support import s3_fault_actions as act
from tests.support.faulty_store import PART, WEIGHTS, Through, impatient, large, through
from tests.support.locks import MemorySource, document, small, snapshot, tree
from tests.support.s3_fault_actions import Action, Answer, Headers
from tests.support.stores import DirectoryBackend, findings, transfer


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Through]:
    impatient(monkeypatch)
    with through() as found:
        yield found


PASSING: dict[str, Action] = {
    "cut in the middle": act.CutRequest(PART // 2),
    "answer lost": act.LoseAnswer(),
    "500": act.internal_error(),
    "503": act.slow_down(),
    "bytes damaged on the way": act.FlipRequest(PART // 2),
}


@pytest.mark.parametrize("kind", PASSING)
def test_a_part_that_fails_once_is_sent_again(line: Through, kind: str) -> None:
    fault = line.fault(PASSING[kind], method="PUT", query="partNumber=2")
    transfer(document(large()), line.store.open(), MemorySource(large()))
    assert fault.hits == 1
    assert [line.proxy.count("PUT", query=f"partNumber={number}") for number in (1, 2, 3)] == [1, 2, 1]
    line.assert_whole(large())


@pytest.mark.parametrize("kind", [kind for kind in PASSING if kind != "cut in the middle"])
@pytest.mark.parametrize("key", ["config.json", "release.json"])
def test_a_small_object_that_fails_once_is_sent_again(line: Through, kind: str, key: str) -> None:
    fault = line.fault(act.FlipRequest() if "damaged" in kind else PASSING[kind], method="PUT", key=key)
    transfer(document(small()), line.store.open(), MemorySource(small()))
    assert fault.hits == 1
    line.assert_whole(small())


@pytest.mark.parametrize("do", [act.LoseAnswer(), act.error_in_200(), act.internal_error()])
@pytest.mark.parametrize("query", ["uploads", "uploadId="])
def test_beginning_and_completing_an_upload_may_fail_once(line: Through, do: Action, query: str) -> None:
    fault = line.fault(do, method="POST", key=WEIGHTS, query=query)
    transfer(document(large()), line.store.open(), MemorySource(large()))
    assert fault.hits == 1
    line.assert_whole(large())


def test_retry_after_is_waited(line: Through, caplog: pytest.LogCaptureFixture) -> None:
    line.fault(act.slow_down(retry_after=1), method="PUT", key="config.json")
    with caplog.at_level(logging.INFO, "provisioner"):
        transfer(document(small()), line.store.open(), MemorySource(small()))
    assert [record.getMessage() for record in caplog.records if "Again in 1.0 s" in record.getMessage()]
    line.assert_whole(small())


def test_a_server_that_never_recovers_is_given_up_and_nothing_is_visible(line: Through) -> None:
    line.fault(act.slow_down(), method="PUT", query="partNumber=2", times=None)
    with pytest.raises(Unavailable, match="SlowDown"):
        transfer(document(large()), line.store.open(), MemorySource(large()))
    line.assert_nothing_is_visible()
    line.proxy.faults.clear()
    transfer(document(large()), line.store.open(), MemorySource(large()))
    line.assert_whole(large())


BROKEN: dict[str, Action] = {
    "cut": act.CutResponse(PART),
    "500": act.internal_error(),
    "503": act.slow_down(),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_download_goes_on_where_it_broke_off(line: Through, tmp_path: Path, kind: str) -> None:
    transfer(document(large()), line.direct.open(), MemorySource(large()))
    target = DirectoryBackend(tmp_path / "store")
    fault = line.fault(BROKEN[kind], method="GET", key=WEIGHTS, times=2)
    run = transfer(document(large()), target.open(), line.store.open().as_source())
    assert fault.hits == 2
    assert len(run.retries) >= 2
    assert findings(target.open(), run.report.release) == {}
    got = sum(exchange.received for exchange in line.proxy.requests("GET", WEIGHTS))
    assert got < 1.2 * len(large().content[WEIGHTS])  # not from its beginning every time


@pytest.mark.parametrize("kind", BROKEN)
def test_a_verify_goes_on_where_it_broke_off(line: Through, kind: str) -> None:
    release = transfer(document(large()), line.direct.open(), MemorySource(large())).report.release
    fault = line.fault(BROKEN[kind], method="GET", key=WEIGHTS, times=2)
    assert findings(line.store.open(), release) == {}
    assert fault.hits == 2


def test_damage_on_the_way_down_is_noticed(line: Through, tmp_path: Path) -> None:
    transfer(document(large()), line.direct.open(), MemorySource(large()))
    target = DirectoryBackend(tmp_path / "store")
    line.fault(act.FlipResponse(PART), method="GET", key=WEIGHTS)
    with pytest.raises(VerificationFailed):
        transfer(document(large()), target.open(), line.store.open().as_source())
    assert target.open().releases() == ()


# --- stores that lie, or know less ---

LIE = act.SetHeaders({"ETag": '"' + "0" * 32 + '"'})


def test_a_lying_etag_beside_our_own_checksum_does_no_harm(line: Through) -> None:
    fault = line.fault(LIE, method="PUT", key="config.json")
    transfer(document(small()), line.store.open(), MemorySource(small()))
    assert fault.hits == 1
    line.assert_whole(small())


def test_a_lying_etag_of_a_part_costs_the_upload_and_not_the_release(line: Through) -> None:
    """The checksum proves the bytes, but the server will not complete the upload under another ETag."""
    line.fault(LIE, method="PUT", query="partNumber=2")
    transfer(document(large()), line.store.open(), MemorySource(large()))
    line.assert_whole(large())


@pytest.mark.parametrize("made", [small(), large()])
def test_a_lying_etag_without_a_checksum_is_refused(line: Through, made: Any) -> None:
    for do in (LIE, act.DropHeaders()):
        line.fault(do, method="PUT", key=WEIGHTS, times=None)
    with pytest.raises(StoreError, match="does not say that it has the bytes"):
        transfer(document(made), line.store.open(), MemorySource(made))
    line.assert_nothing_is_visible()
    assert line.direct.uploads() == []


def test_a_lying_checksum_is_refused(line: Through) -> None:
    line.fault(act.SetHeaders({"x-amz-checksum-sha256": "A" * 43 + "="}), method="PUT", key="config.json", times=None)
    with pytest.raises(StoreError, match="does not say that it has the bytes"):
        transfer(document(small()), line.store.open(), MemorySource(small()))
    line.assert_nothing_is_visible()


def test_a_store_without_checksums_is_proved_by_its_etags(line: Through) -> None:
    line.fault(act.DropHeaders(), times=None)
    transfer(document(large()), line.store.open(), MemorySource(large()))
    line.assert_whole(large())


def test_content_md5_alone_is_enough(line: Through, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    damage = line.fault(act.FlipRequest(PART // 2), method="PUT", query="partNumber=1")
    transfer(document(large()), line.store.open(), MemorySource(large()))
    assert damage.hits == 1
    parts = line.proxy.requests("PUT", WEIGHTS)
    assert len(parts) == 4
    assert all("content-md5" in part.headers for part in parts)
    assert not any(name.startswith("x-amz-checksum") for part in parts for name in part.headers)
    line.assert_whole(large())


@pytest.mark.parametrize("do", [act.IgnoreConditions(), act.not_implemented()])
def test_a_store_without_conditions_is_written_all_the_same(line: Through, do: Action) -> None:
    times = 1 if isinstance(do, Answer) else None  # the condition is what it refuses
    line.fault(do, method="PUT", key="release.json", times=times)
    transfer(document(small()), line.store.open(), MemorySource(small()))
    line.assert_whole(small())


class NoRange(Action):
    """A gateway that answers with the whole object."""

    def request_headers(self, exchange: act.Exchange, target: str, headers: Headers) -> Headers:
        return [header for header in headers if header[0].lower() != "range"]


def test_a_gateway_without_ranges_can_be_read_from_the_start(line: Through, tmp_path: Path) -> None:
    release = transfer(document(large()), line.direct.open(), MemorySource(large())).report.release
    line.fault(NoRange(), method="GET", times=None)
    target = DirectoryBackend(tmp_path / "store")
    transfer(document(large()), target.open(), line.store.open().as_source())
    assert findings(target.open(), release) == {}


# --- sources that lie ---


@pytest.mark.parametrize("made", [small(), large()])
def test_wrong_bytes_leave_no_object_and_no_parts(line: Through, made: Any) -> None:
    source = MemorySource(made)
    (digest,) = (entry.sha256 for entry in tree(made).entries if entry.path.endswith(WEIGHTS))
    good = source.content[digest]
    source.content[digest] = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(VerificationFailed, match="not the locked ones"):
        transfer(document(made), line.store.open(), source)
    line.assert_nothing_is_visible()
    assert line.direct.uploads() == []
    assert not [key for key in list(line.direct.keys()) if key.endswith(WEIGHTS)]
    source.content[digest] = good
    transfer(document(made), line.store.open(), source)
    line.assert_whole(made)


# --- credentials that run out ---


def test_an_expired_token_ends_it_and_the_next_run_sends_what_is_missing(line: Through) -> None:
    made, expired = large(5.5), Answer(403, "ExpiredToken")
    line.fault(expired, method="PUT", query="partNumber=6", times=None)
    with pytest.raises(AccessDenied, match="have expired") as found:
        transfer(document(made), line.store.open(), MemorySource(made))
    assert found.value.exit_code == 6
    assert line.proxy.count("PUT", query="partNumber=6") == 1  # no retry helps
    line.assert_nothing_is_visible()
    there, begin = line.parts(made), len(line.proxy.log)
    assert there and 6 not in there
    line.proxy.faults.clear()
    transfer(document(made), line.store.open(), MemorySource(made))
    again = [one.query for one in line.proxy.log[begin:] if one.method == "PUT" and "partNumber" in one.query]
    assert {int(query.partition("partNumber=")[2].partition("&")[0]) for query in again} == set(range(1, 7)) - there
    assert len(again) == 6 - len(there)
    assert not [one for one in line.proxy.log[begin:] if one.query == "uploads" and one.method == "POST"]
    line.assert_whole(made)


@pytest.mark.parametrize(
    "refused", [{"method": "PUT", "query": "partNumber=2"}, {"method": "POST", "query": "uploadId="}]
)
def test_an_upload_that_refuses_to_be_continued_is_begun_anew(line: Through, refused: dict[str, str]) -> None:
    """It was begun by something else: without checksums, with another encryption."""
    made, s3 = large(), line.direct.client
    key = {"Bucket": line.direct.bucket, "Key": line.weights(made)}
    upload = s3.create_multipart_upload(**key)["UploadId"]
    s3.upload_part(**key, UploadId=upload, PartNumber=1, Body=made.content[WEIGHTS][:PART])
    fault = line.fault(Answer(400, "InvalidRequest"), **refused)
    transfer(document(made), line.store.open(), MemorySource(made))
    assert fault.hits == 1
    line.assert_whole(made)


def test_a_part_of_other_bytes_is_sent_again(line: Through) -> None:
    """What an earlier run, or somebody else, left in the upload is compared before it is used."""
    made, s3 = large(), line.direct.client
    key = {"Bucket": line.direct.bucket, "Key": line.weights(made)}
    upload = s3.create_multipart_upload(**key, ChecksumAlgorithm="CRC32")["UploadId"]
    data = made.content[WEIGHTS]
    for number, content in ((1, data[:PART]), (2, bytes(PART)), (3, data[2 * PART :])):
        s3.upload_part(**key, UploadId=upload, PartNumber=number, Body=content, ChecksumAlgorithm="CRC32")
    transfer(document(made), line.store.open(), MemorySource(made))
    assert [line.proxy.count("PUT", query=f"partNumber={number}") for number in (1, 2, 3)] == [0, 1, 0]
    line.assert_whole(made)


# --- what no retry changes ---

DATE = (("Date", formatdate(time.time() + 7200, usegmt=True)),)
FINAL: dict[str, tuple[Answer, type[ProvisionError], int, str]] = {
    "denied": (act.access_denied(), AccessDenied, 6, "AccessDenied"),
    "expired": (act.expired_token(), AccessDenied, 6, "expired"),
    "clock": (Answer(403, "RequestTimeTooSkewed", headers=DATE), AccessDenied, 6, " s behind"),
    "full": (act.storage_full(), StoreFull, 8, "full"),
    "quota": (act.quota_exceeded(), StoreFull, 8, "full"),
    "read-only": (act.read_only(), StoreError, 8, "MethodNotAllowed"),
    "region": (Answer(301, "PermanentRedirect"), InvalidInput, 4, "region"),
    "region of a signature": (Answer(400, "AuthorizationHeaderMalformed"), InvalidInput, 4, "region"),
}


@pytest.mark.parametrize("kind", FINAL)
@pytest.mark.parametrize("key", ["staging/", WEIGHTS])
def test_what_no_retry_changes_ends_it_at_once(line: Through, kind: str, key: str) -> None:
    do, error, code, words = FINAL[kind]
    line.fault(do, method="PUT", key=key, times=None)
    with pytest.raises(error, match=words) as found:
        transfer(document(small()), line.store.open(), MemorySource(small()))
    assert found.value.exit_code == code
    assert found.value.hint
    assert line.proxy.count("PUT", key=key) == 1
    line.assert_nothing_is_visible()


@pytest.mark.parametrize("evidence", [Evidence.REHASHED, Evidence.RECORDED])
def test_a_reader_who_is_refused_says_so_and_finds_nothing(line: Through, evidence: Evidence) -> None:
    """Being kept out is no finding about the bytes."""
    release = transfer(document(small()), line.direct.open(), MemorySource(small())).report.release
    line.fault(act.access_denied(), key=snapshot(small(), "config.json"), times=None)
    with pytest.raises(AccessDenied):
        findings(line.store.open(), release, evidence)


def test_an_object_that_the_server_cannot_read_is_a_finding(line: Through) -> None:
    """Servers that notice damage answer 500 for ever; the others' files are still looked at."""
    made = small()
    release = transfer(document(made), line.direct.open(), MemorySource(made)).report.release
    line.direct.overwrite(release, snapshot(made, "tokenizer.json"), b'{"version": "9.9"}')
    line.fault(act.internal_error(), method="GET", key="config.json", times=None)
    assert findings(line.store.open(), release) == {
        snapshot(made, "config.json"): "unreadable",
        snapshot(made, "tokenizer.json"): "digest",
    }
    after = small(tokenizer=b"new")
    run = transfer(document(after), line.store.open(), MemorySource(after))
    assert findings(line.direct.open(), run.report.release) == {}
    assert any("cannot be read" in notice for notice in run.notices)
    line.fault(act.internal_error(), times=None)
    with pytest.raises(Unavailable):
        findings(line.store.open(), release)
