"""The Azure Files stand-in, driven through the real SDK; where it makes sense the same on a real share.

`PROVISION_TEST_AZURE_FILES="CONNECTION STRING;SHARE"` names the share; only a folder of its own is touched there.
"""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3

pytest.importorskip("azure.storage.fileshare", reason="azure-storage-file-share is not installed")

from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.storage.fileshare import (
    AccountSasPermissions,
    ContentSettings,
    LinearRetry,
    ResourceTypes,
    ShareClient,
    ShareDirectoryClient,
    ShareFileClient,
    ShareLeaseClient,
    ShareSasPermissions,
    ShareServiceClient,
    generate_account_sas,
    generate_share_sas,
)

from tests.support.azure_files import (
    BROKEN,
    BUSY,
    EXPIRED,
    FULL,
    KEY,
    AzureFiles,
    CutDownload,
    CutUpload,
    Fault,
    FlipBit,
    Lie,
    LoseAnswer,
    Stall,
)

MIB = 2**20
REAL = os.environ.get("PROVISION_TEST_AZURE_FILES", "").strip().rstrip(";")
ODD = [
    "naïve résumé (1)~.txt",
    "with space",
    "日本語モデル",
    "100% & 'q' +plus;,=@!$[x]{y}`^#&amp;",
    ".dotted",
    "UPPER.bin",
]
IN_A_DAY = timedelta(days=1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[AzureFiles]:
    with AzureFiles(tmp_path) as running:
        yield running


@pytest.fixture
def service(server: AzureFiles) -> Iterator[ShareServiceClient]:
    with ShareServiceClient.from_connection_string(server.connection_string, retry_total=0) as client:
        yield client


@pytest.fixture
def share(server: AzureFiles) -> Iterator[ShareClient]:
    server.create_share("models")
    with ShareClient.from_connection_string(server.connection_string, "models", retry_total=0) as client:
        yield client


@pytest.fixture(params=["stand-in", *(["real"] if REAL else [])])
def home(request: pytest.FixtureRequest) -> Iterator[ShareDirectoryClient]:
    """A folder for one test, in the stand-in and on a real share."""
    if request.param == "stand-in":
        yield request.getfixturevalue("share").create_directory("home")
        return
    connection, _, name = REAL.rpartition(";")
    with ShareClient.from_connection_string(connection, name) as real:
        folder = real.create_directory(f"provisioner-test-{uuid.uuid4().hex}")
        yield folder
        _empty(folder)


def _empty(folder: ShareDirectoryClient) -> None:
    for entry in folder.list_directories_and_files():
        if entry.is_directory:
            _empty(folder.get_subdirectory_client(entry.name))
        else:
            folder.delete_file(entry.name)
    folder.delete_directory()


def refusal(call: Callable[[], Any]) -> tuple[int, str]:
    """Status and error code of a call that must fail."""
    with pytest.raises(HttpResponseError) as caught:
        call()
    assert caught.value.response is not None
    return caught.value.response.status_code, str(caught.value.response.headers["x-ms-error-code"])


def names(folder: ShareDirectoryClient, **options: Any) -> list[str]:
    return sorted(entry.name for entry in folder.list_directories_and_files(**options))


def ranges(file: ShareFileClient, **options: Any) -> list[tuple[int, int]]:
    return [(span.start, span.end) for span in file.list_ranges(**options)]


def path_in(folder: ShareDirectoryClient, name: str) -> str:
    return f"{folder.directory_path}/{name}"


# Shares


def test_a_share_lives_and_ends(server: AzureFiles, service: ShareServiceClient) -> None:
    share = service.create_share("models", metadata={"owner": "me"}, quota=7)
    assert server.path("models").is_dir()
    found = share.get_share_properties()
    assert (found.name, found.quota, found.metadata, found.protocols) == ("models", 7, {"owner": "me"}, ["SMB"])
    assert found.etag
    share.set_share_quota(9)
    share.set_share_metadata({"owner": "you"})
    found = share.get_share_properties()
    assert (found.quota, found.metadata) == (9, {"owner": "you"})
    assert share.get_share_stats() == 0
    share.get_file_client("a").upload_file(b"12345")
    assert share.get_share_stats() == 5
    assert refusal(lambda: service.create_share("models")) == (409, "ShareAlreadyExists")
    share.delete_share()
    assert not server.path("models").exists()
    assert refusal(share.get_share_properties) == (404, "ShareNotFound")
    assert refusal(lambda: share.create_directory("x")) == (404, "ShareNotFound")


@pytest.mark.parametrize("name", ["Models", "ab", "a--b", "-ab", "a_b"])
def test_a_share_with_a_bad_name_is_refused(service: ShareServiceClient, name: str) -> None:
    assert refusal(lambda: service.create_share(name)) == (400, "InvalidResourceName")


def test_shares_are_listed_in_pages(server: AzureFiles, service: ShareServiceClient) -> None:
    for number in range(7):
        server.create_share(f"share-{number}")
    server.create_share("other", quota=3)
    pages = [[share.name for share in page] for page in service.list_shares(results_per_page=3).by_page()]
    assert pages == [["other", "share-0", "share-1"], ["share-2", "share-3", "share-4"], ["share-5", "share-6"]]
    assert [share.quota for share in service.list_shares(name_starts_with="oth")] == [3]


def test_a_leased_share_is_not_deleted(share: ShareClient) -> None:
    lease = share.acquire_lease(lease_duration=15)
    assert share.get_share_properties().lease.duration == "fixed"
    assert refusal(share.delete_share) == (412, "LeaseIdMissing")
    lease.renew()
    share.delete_share(lease=lease)


# Directories


def test_a_directory_lives_and_ends(home: ShareDirectoryClient) -> None:
    folder = home.create_subdirectory("a b", metadata={"kind": "tree"})
    assert folder.exists()
    assert folder.get_directory_properties().metadata == {"kind": "tree"}
    folder.set_directory_metadata({"kind": "other"})
    assert folder.get_directory_properties().metadata == {"kind": "other"}
    assert refusal(lambda: home.create_subdirectory("A B")) == (409, "ResourceAlreadyExists")
    folder.upload_file("file", b"x")
    assert refusal(folder.delete_directory) == (409, "DirectoryNotEmpty")
    assert refusal(lambda: home.create_subdirectory("no/where")) == (404, "ParentNotFound")
    folder.delete_file("file")
    folder.delete_directory()
    assert not folder.exists()
    assert refusal(folder.delete_directory) == (404, "ResourceNotFound")
    assert refusal(lambda: home.upload_file("no/where.txt", b"x")) == (404, "ParentNotFound")


def test_a_directory_is_no_file_and_a_file_no_directory(home: ShareDirectoryClient) -> None:
    home.create_subdirectory("folder")
    home.upload_file("file", b"x")
    assert refusal(lambda: home.upload_file("folder", b"x")) == (409, "ResourceTypeMismatch")
    with pytest.raises(ResourceExistsError):
        home.create_subdirectory("file")
    with pytest.raises(ResourceNotFoundError):
        home.upload_file("file/below", b"x")


def test_renaming_a_directory_takes_all_of_it_and_replaces_none(home: ShareDirectoryClient) -> None:
    home.create_subdirectory("staging").create_subdirectory("deep")
    home.get_file_client("staging/deep/file").upload_file(b"bytes", metadata={"sha256": "ab"})
    staging = home.get_subdirectory_client("staging")
    home.create_subdirectory("taken")
    assert refusal(lambda: staging.rename_directory(path_in(home, "taken"))) == (409, "ResourceAlreadyExists")
    assert refusal(lambda: staging.rename_directory(path_in(home, "no/where"))) == (404, "ParentNotFound")
    moved = staging.rename_directory(path_in(home, "release ü"))
    assert names(home) == ["release ü", "taken"]
    file = moved.get_file_client("deep/file")
    assert file.download_file().readall() == b"bytes"
    assert file.get_file_properties().metadata == {"sha256": "ab"}
    assert refusal(lambda: staging.rename_directory(path_in(home, "again"))) == (404, "ResourceNotFound")


def test_of_many_renames_onto_one_name_one_wins(share: ShareClient) -> None:
    folders = [share.create_directory(f"staging-{number}") for number in range(8)]
    won: list[str] = []

    def rename(folder: ShareDirectoryClient) -> None:
        with suppress(ResourceExistsError):
            won.append(folder.rename_directory("release").directory_path)

    threads = [threading.Thread(target=rename, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == ["release"]
    assert sum(folder.exists() for folder in folders) == 7


@pytest.mark.parametrize("name", ODD)
def test_names_with_unicode_and_signs_come_back_as_they_were(home: ShareDirectoryClient, name: str) -> None:
    folder = home.create_subdirectory(name)
    folder.upload_file(name, b"bytes", validate_content=True)
    assert names(home) == names(folder) == [name]
    assert folder.get_file_client(name).download_file().readall() == b"bytes"
    moved = folder.get_file_client(name).rename_file(path_in(home, "x " + name))
    moved.rename_file(path_in(folder, name))
    assert names(folder) == [name]


def test_names_differ_in_more_than_case_and_keep_their_case(home: ShareDirectoryClient) -> None:
    home.create_subdirectory("Models")
    file = home.get_file_client("MODELS/Config.JSON")
    file.upload_file(b"one")
    home.get_file_client("models/config.json").upload_file(b"two")
    assert names(home) == ["Models"]
    assert names(home.get_subdirectory_client("mODELS")) == ["Config.JSON"]
    assert file.download_file().readall() == b"two"


@pytest.mark.parametrize("name", ["a:b", "a|b", "a*b", 'a"b', "a\\b", "a<b", "a?b"])
def test_signs_that_windows_does_not_take_are_refused(home: ShareDirectoryClient, name: str) -> None:
    assert refusal(lambda: home.get_file_client(name).create_file(1))[0] == 400
    assert names(home) == []


def test_trailing_dots_are_dropped_unless_allowed(server: AzureFiles, share: ShareClient) -> None:
    share.get_file_client("file...").upload_file(b"x")
    with ShareClient.from_connection_string(server.connection_string, "models", allow_trailing_dot=True) as exact:
        exact.get_file_client("file..").upload_file(b"y")
    assert sorted(os.listdir(server.path("models"))) == ["file", "file.."]


def test_a_listing_comes_in_pages(home: ShareDirectoryClient) -> None:
    for number in range(5):
        home.create_subdirectory(f"d{number}")
        home.upload_file(f"f{number}", b"x" * number)
    pages = [list(page) for page in home.list_directories_and_files(results_per_page=4).by_page()]
    assert [len(page) for page in pages] == [4, 4, 2]
    listed = {entry.name: entry for page in pages for entry in page}
    assert sorted(listed) == [f"{kind}{number}" for kind in "df" for number in range(5)]
    assert {name: entry.size for name, entry in listed.items() if not entry.is_directory} == {
        f"f{number}": number for number in range(5)
    }
    assert names(home, name_starts_with="f") == [f"f{number}" for number in range(5)]
    one = next(iter(home.list_directories_and_files(name_starts_with="f1", include=["timestamps", "ETag"])))
    assert one.etag
    assert abs(one.last_modified - datetime.now(UTC)) < IN_A_DAY


def test_the_server_can_be_told_to_page_at_1000(server: AzureFiles, share: ShareClient) -> None:
    for number in range(2001):
        server.path("models", f"{number:05}").touch()
    server.folders.page = 1000
    assert names(share.get_directory_client()) == [f"{number:05}" for number in range(2001)]
    assert len(server.asked_for("GET directory list")) == 3


def test_what_no_xml_can_hold_is_listed_encoded(share: ShareClient) -> None:
    share.get_file_client("odd\ufffe").upload_file(b"x")
    assert names(share.get_directory_client()) == ["odd\ufffe"]


# Files


def test_a_file_is_created_written_read_and_deleted(home: ShareDirectoryClient) -> None:
    file = home.get_file_client("file.bin")
    file.create_file(10, metadata={"sha256": "ab", "a_1": "x", "a1": "y"})
    file.upload_range(b"456", 4, 3, validate_content=True)
    file.upload_range(b"01", 0, 2)
    assert file.download_file().readall() == b"01\0\x00456\0\0\0"
    found = file.get_file_properties()
    assert (found.size, found.metadata) == (10, {"sha256": "ab", "a_1": "x", "a1": "y"})
    assert file.download_file(offset=4, length=2).readall() == b"45"
    assert file.download_file(offset=4, length=2, validate_content=True).readall() == b"45"
    assert refusal(lambda: file.download_file(offset=10, length=1)) == (416, "InvalidRange")
    assert refusal(lambda: file.upload_range(b"xx", 9, 2)) == (416, "InvalidRange")
    file.resize_file(5)
    assert file.download_file().readall() == b"01\0\x004"
    file.delete_file()
    assert refusal(file.delete_file) == (404, "ResourceNotFound")
    assert not file.exists()


def test_bytes_lie_on_disk_to_be_damaged(server: AzureFiles, share: ShareClient) -> None:
    file = share.create_directory("a").upload_file("b", b"0123")
    on_disk = server.path("models", "a/b")
    assert on_disk.read_bytes() == b"0123"
    before = file.get_file_properties()
    on_disk.write_bytes(b"0129")
    after = file.get_file_properties()
    assert (after.etag, after.metadata) == (before.etag, before.metadata)
    assert file.download_file().readall() == b"0129"
    on_disk.unlink()
    assert not file.exists()
    server.path("models", "found").write_bytes(b"by nobody")
    assert ranges(share.get_file_client("found")) == [(0, 8)]


@pytest.mark.parametrize("size", [0, 1, 4 * MIB, 4 * MIB + 1, 9 * MIB])
def test_files_of_all_sizes_go_up_and_come_down(home: ShareDirectoryClient, size: int) -> None:
    data = os.urandom(size)
    file = home.upload_file("file", data, validate_content=True, max_concurrency=3)
    assert file.get_file_properties().size == size
    assert file.download_file().readall() == data
    assert file.download_file(validate_content=True, max_concurrency=3).readall() == data


def test_an_empty_file_refuses_a_range(home: ShareDirectoryClient) -> None:
    file = home.upload_file("empty", b"")
    assert refusal(lambda: file.download_file(offset=0, length=1)) == (416, "InvalidRange")
    assert ranges(file) == []


def test_ranges_are_known_and_cleared(home: ShareDirectoryClient) -> None:
    file = home.get_file_client("file")
    file.create_file(8192)
    file.upload_range(b"a" * 1024, 0, 1024)
    file.upload_range(b"b" * 1024, 1024, 1024)
    file.upload_range(b"c" * 512, 4096, 512)
    assert ranges(file) == [(0, 2047), (4096, 4607)]
    assert ranges(file, offset=1024, length=1024) == [(1024, 2047)]
    assert ranges(file, results_per_page=1) == ranges(file)
    file.clear_range(512, 512)
    assert ranges(file) == [(0, 511), (1024, 2047), (4096, 4607)]
    assert file.download_file().readall()[:1536] == b"a" * 512 + bytes(512) + b"b" * 512


def test_a_range_with_another_md5_is_refused(share: ShareClient) -> None:
    file = share.get_file_client("file")
    file.create_file(4)

    def lie(request: Any) -> None:
        request.http_request.headers["Content-MD5"] = "AAAAAAAAAAAAAAAAAAAAAA=="

    assert refusal(lambda: file.upload_range(b"1234", 0, 4, raw_request_hook=lie)) == (400, "Md5Mismatch")
    assert file.download_file().readall() == bytes(4)
    assert ranges(file) == []


def test_a_range_over_four_mib_is_refused(share: ShareClient) -> None:
    file = share.get_file_client("file")
    file.create_file(9 * MIB)
    assert refusal(lambda: file.upload_range(bytes(4 * MIB + 1), 0, 4 * MIB + 1)) == (413, "RequestBodyTooLarge")
    with pytest.raises(AzureError):
        file.upload_range(bytes(9 * MIB), 0, 9 * MIB)


def test_a_sparse_file_of_five_gib_takes_no_room(server: AzureFiles, share: ShareClient) -> None:
    file, size = share.get_file_client("huge"), 5 * 2**30
    file.create_file(size)
    file.upload_range(b"end", size - 3, 3)
    assert ranges(file) == [(size - 3, size - 1)]
    copy = share.get_file_client("copy")
    copy.start_copy_from_url(file.url)
    assert copy.get_file_properties().size == size
    assert copy.download_file(offset=size - 4, length=4).readall() == b"\0end"
    assert ranges(copy) == ranges(file)
    assert share.get_share_stats() == 6
    assert server.path("models", "copy").stat().st_blocks * 512 < MIB


def test_content_settings_and_metadata_are_kept(home: ShareDirectoryClient) -> None:
    md5 = bytearray(hashlib.md5(b"1234").digest())
    file = home.upload_file("file", b"1234", content_settings=ContentSettings("text/x", content_md5=md5))
    assert file.get_file_properties().content_settings.content_md5 == md5
    assert file.download_file().properties.content_settings.content_md5 == md5
    file.set_http_headers(ContentSettings("text/y"))
    file.set_file_metadata({"one": "1"})
    found = file.get_file_properties()
    assert (found.content_settings.content_type, found.content_settings.content_md5) == ("text/y", None)
    assert found.metadata == {"one": "1"}
    assert refusal(lambda: file.set_file_metadata({"sha-256": "x"})) == (400, "InvalidMetadata")
    assert refusal(lambda: file.set_file_metadata({"big": "x" * 9000}))[0] == 400
    home.upload_file("file", b"12")  # a new file in its place remembers nothing
    assert file.get_file_properties().metadata == {}


def test_a_file_is_renamed_and_replaces_only_when_told(home: ShareDirectoryClient) -> None:
    file = home.upload_file("new", b"new", metadata={"sha256": "ab"})
    home.upload_file("old", b"old")
    home.create_subdirectory("folder")
    old = path_in(home, "old")
    assert refusal(lambda: file.rename_file(old)) == (409, "ResourceAlreadyExists")
    moved = file.rename_file(old, overwrite=True)
    assert names(home) == ["folder", "old"]
    assert moved.download_file().readall() == b"new"
    assert moved.get_file_properties().metadata == {"sha256": "ab"}
    assert refusal(lambda: moved.rename_file(path_in(home, "folder"), overwrite=True))[0] == 409
    assert names(home) == ["folder", "old"]
    moved.rename_file(path_in(home, "OLD"))
    assert names(home) == ["OLD", "folder"]


def test_a_lease_keeps_others_from_writing(home: ShareDirectoryClient) -> None:
    file = home.upload_file("file", b"1234")
    lease = file.acquire_lease(lease_id=str(uuid.uuid4()))
    assert refusal(lambda: file.upload_range(b"x", 0, 1)) == (412, "LeaseIdMissing")
    assert refusal(file.delete_file) == (412, "LeaseIdMissing")
    assert refusal(lambda: file.set_file_metadata({"a": "b"}, lease=str(uuid.uuid4()))) == (
        412,
        "LeaseIdMismatchWithFileOperation",
    )
    assert refusal(lambda: file.acquire_lease(lease_id=str(uuid.uuid4()))) == (409, "LeaseAlreadyPresent")
    file.upload_range(b"x", 0, 1, lease=lease)
    assert file.get_file_properties().lease.state == "leased"
    lease.change(str(uuid.uuid4()))
    file.upload_range(b"y", 1, 1, lease=lease)
    assert file.download_file().readall() == b"xy34"
    ShareLeaseClient(file).break_lease()
    assert file.get_file_properties().lease.state == "broken"
    file.acquire_lease().release()
    file.delete_file()


# Copies


def test_a_copy_stays_in_the_service(home: ShareDirectoryClient) -> None:
    origin = home.upload_file("origin ü", b"bytes", metadata={"sha256": "ab"})
    copy = home.get_file_client("copy")
    done = copy.start_copy_from_url(origin.url)
    assert done["copy_status"] in ("success", "pending")
    _wait_for(copy)
    assert copy.download_file().readall() == b"bytes"
    assert copy.get_file_properties().metadata == {"sha256": "ab"}
    copy.start_copy_from_url(origin.url, metadata={"other": "1"})
    _wait_for(copy)
    assert copy.get_file_properties().metadata == {"other": "1"}
    missing = home.get_file_client("missing")
    with pytest.raises(ResourceNotFoundError):
        copy.start_copy_from_url(missing.url)
    with pytest.raises(ResourceNotFoundError):
        home.get_file_client("no/where").start_copy_from_url(origin.url)


def _wait_for(file: ShareFileClient) -> None:
    for _ in range(1000):
        if file.get_file_properties().copy.status != "pending":
            break
    assert file.get_file_properties().copy.status == "success"


def test_a_copy_can_be_pending(server: AzureFiles, share: ShareClient) -> None:
    server.files.polls = 2
    origin, copy = share.get_file_client("origin"), share.get_file_client("copy")
    origin.upload_file(b"bytes")
    assert copy.start_copy_from_url(origin.url)["copy_status"] == "pending"
    assert server.path("models", "copy").read_bytes() == bytes(5)
    assert refusal(lambda: copy.upload_range(b"x", 0, 1)) == (409, "PendingCopyOperation")
    seen = [copy.get_file_properties().copy for _ in range(3)]
    assert [state.status for state in seen] == ["pending", "pending", "success"]
    assert [state.progress for state in seen] == ["0/5", "0/5", "5/5"]
    assert copy.download_file().readall() == b"bytes"


def test_a_pending_copy_can_be_aborted_or_fail(server: AzureFiles, share: ShareClient) -> None:
    server.files.polls = 1
    origin, copy = share.get_file_client("origin"), share.get_file_client("copy")
    origin.upload_file(b"bytes")
    copy.abort_copy(copy.start_copy_from_url(origin.url)["copy_id"])
    found = copy.get_file_properties()
    assert (found.size, found.copy.status) == (0, "aborted")
    copy.start_copy_from_url(origin.url)
    origin.delete_file()
    assert [copy.get_file_properties().copy.status for _ in range(2)] == ["pending", "failed"]


def test_a_range_is_copied_from_an_url_that_says_who_may(server: AzureFiles, share: ShareClient) -> None:
    origin, copy = share.get_file_client("origin"), share.get_file_client("copy")
    origin.upload_file(b"0123456789")
    copy.create_file(4)
    assert refusal(lambda: copy.upload_range_from_url(origin.url, 0, 4, 3)) == (404, "CannotVerifyCopySource")
    copy.upload_range_from_url(f"{origin.url}?{sas(server, 'r')}", 0, 4, 3)
    assert copy.download_file().readall() == b"3456"


# Who may


def sas(server: AzureFiles, letters: str, lasts: timedelta = IN_A_DAY, key: str = KEY) -> str:
    permission = ShareSasPermissions.from_string(letters)
    return generate_share_sas(server.account, "models", key, permission, datetime.now(UTC) + lasts)


def by_sas(server: AzureFiles, token: str) -> ShareClient:
    return ShareClient(server.url, "models", credential=token, retry_total=0)


def test_another_key_is_refused(server: AzureFiles, share: ShareClient) -> None:
    wrong = server.connection_string.replace(KEY, "d3Jvbmc=")
    with ShareClient.from_connection_string(wrong, "models") as stranger:
        assert refusal(stranger.get_share_properties) == (403, "AuthenticationFailed")
        assert refusal(lambda: stranger.create_directory("x")) == (403, "AuthenticationFailed")
    assert os.listdir(server.path("models")) == []


def test_no_credential_at_all_is_refused(server: AzureFiles, share: ShareClient) -> None:
    with urllib3.PoolManager() as pool:  # the SDK itself asks for one
        answer = pool.request("GET", f"{server.url}/models?restype=directory&comp=list")
    assert (answer.status, answer.headers["x-ms-error-code"]) == (401, "NoAuthenticationInformation")


@pytest.mark.parametrize("skew", [-1000.0, 1000.0])
def test_a_clock_that_is_off_is_refused_and_the_answer_says_the_time(
    server: AzureFiles, share: ShareClient, skew: float
) -> None:
    server.skew = skew
    with pytest.raises(ClientAuthenticationError) as caught:
        share.get_share_properties()
    assert caught.value.response is not None
    assert caught.value.response.headers["x-ms-error-code"] == "AuthenticationFailed"
    assert "date header too old" in caught.value.additional_info["authenticationerrordetail"]
    said = parsedate_to_datetime(caught.value.response.headers["Date"])
    assert abs((said - datetime.now(UTC)).total_seconds() - skew) < 60
    server.skew = skew / 10
    share.get_share_properties()


def test_a_signature_allows_what_it_says(server: AzureFiles, share: ShareClient) -> None:
    share.get_file_client("file").upload_file(b"1234")
    with by_sas(server, sas(server, "rl")) as reader:
        assert reader.get_file_client("file").download_file().readall() == b"1234"
        assert [entry.name for entry in reader.list_directories_and_files()] == ["file"]
        no = (403, "AuthorizationPermissionMismatch")
        assert refusal(lambda: reader.get_file_client("file").upload_file(b"x")) == no
        assert refusal(lambda: reader.get_file_client("file").delete_file()) == no
        assert refusal(lambda: reader.create_directory("x")) == no
        assert refusal(reader.get_share_properties) == (403, "AuthorizationFailure")
    with by_sas(server, sas(server, "rcwdl")) as writer:
        file = writer.create_directory("d").upload_file("new", b"56")
        writer.get_file_client("copy").start_copy_from_url(file.url)
        file.rename_file("d/newer").delete_file()
        writer.get_directory_client("d").rename_directory("e")
    assert sorted(os.listdir(server.path("models"))) == ["copy", "e", "file"]
    assert not any("sig" in line.query for line in server.log)


def test_a_signature_that_is_wrong_or_over_is_refused(server: AzureFiles, share: ShareClient) -> None:
    for token in (sas(server, "rl", key="d3Jvbmc="), sas(server, "rl", lasts=timedelta(hours=-1))):
        with by_sas(server, token) as client:
            assert refusal(lambda: list(client.list_directories_and_files())) == (403, "AuthenticationFailed")
    server.keeper.sas = False
    with by_sas(server, sas(server, "rl")) as client:
        assert refusal(lambda: list(client.list_directories_and_files()))[0] == 403


def test_an_account_signature_reaches_the_share_itself(server: AzureFiles, share: ShareClient) -> None:
    until = datetime.now(UTC) + IN_A_DAY
    permission = AccountSasPermissions.from_string("rwl")
    kinds = ResourceTypes(service=False, container=True, object=True)
    with by_sas(server, generate_account_sas(server.account, KEY, kinds, permission, until)) as client:
        assert client.get_share_properties().quota == 5120
        client.create_directory("x")
        assert refusal(lambda: client.get_directory_client("x").delete_directory())[0] == 403
    with ShareServiceClient(server.url, generate_account_sas(server.account, KEY, kinds, permission, until)) as client:
        assert refusal(lambda: list(client.list_shares())) == (403, "AuthorizationResourceTypeMismatch")


class Token:
    """A credential that knows one token."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(self.token, 4_000_000_000)


def test_a_token_needs_tls_and_the_backup_intent(tmp_path: Path) -> None:
    with AzureFiles(tmp_path, tls=True) as server:
        server.create_share("models")
        server.keeper.tokens.add("good")
        verify: dict[str, Any] = {"connection_verify": str(server.ca_file), "retry_total": 0}
        with ShareClient(server.url, "models", credential=Token("good"), token_intent="backup", **verify) as client:
            file = client.create_directory("a b").upload_file("file", b"1234")
            client.get_file_client("copy").start_copy_from_url(file.url)
            assert client.get_file_client("copy").download_file().readall() == b"1234"
            server.keeper.tokens.clear()
            with pytest.raises(ClientAuthenticationError) as caught:
                client.get_share_properties()
            assert caught.value.status_code == 401
        server.keeper.tokens.add("good")
        headers = {"Authorization": "Bearer good", "x-ms-version": "2026-10-06"}
        with urllib3.PoolManager(ca_certs=str(server.ca_file)) as pool:  # the SDK itself insists on the intent
            answer = pool.request("GET", f"{server.url}/models?restype=directory&comp=list", headers=headers)
        assert (answer.status, answer.headers["x-ms-error-code"]) == (400, "MissingRequiredHeader")


# Faults


@pytest.mark.parametrize("fault", [BUSY, BROKEN])
def test_a_busy_server_is_asked_again(server: AzureFiles, share: ShareClient, fault: Any) -> None:
    server.faults.append(Fault(fault, "PUT directory", times=2))
    again = {"retry_policy": LinearRetry(backoff=0, random_jitter_range=0)}
    with ShareClient.from_connection_string(server.connection_string, "models", **again) as client:
        client.create_directory("x")
    statuses = [line.status for line in server.asked_for("PUT directory")]
    assert statuses == [fault.status, fault.status, 201]
    server.faults.append(Fault(fault, "PUT directory"))
    assert refusal(lambda: share.create_directory("y")) == (fault.status, fault.code)


def test_a_credential_can_expire_in_the_middle(server: AzureFiles, share: ShareClient) -> None:
    server.faults.append(Fault(EXPIRED, "PUT range", after=1, times=99))
    with pytest.raises(ClientAuthenticationError):
        share.get_file_client("file").upload_file(bytes(9 * MIB))
    assert [line.status for line in server.asked_for("PUT range")] == [201, 403]


def test_a_full_share_says_so(server: AzureFiles, share: ShareClient) -> None:
    server.files.largest["models"] = 5 * MIB
    assert refusal(lambda: share.get_file_client("file").upload_file(bytes(9 * MIB))) == (413, "ShareSizeLimitReached")
    share.get_file_client("file").delete_file()
    file = share.get_file_client("file")
    file.upload_file(bytes(4 * MIB))
    file.upload_range(bytes(4 * MIB), 0, 4 * MIB)  # the same bytes again cost nothing
    assert refusal(lambda: share.get_file_client("copy").start_copy_from_url(file.url))[1] == "ShareSizeLimitReached"
    server.faults.append(Fault(FULL, "PUT"))
    assert refusal(lambda: share.get_file_client("other").create_file(1)) == (413, "ShareSizeLimitReached")


def test_a_cut_upload_stores_nothing(server: AzureFiles, share: ShareClient) -> None:
    file = share.get_file_client("file")
    file.create_file(4 * MIB)
    server.faults.append(Fault(CutUpload(after=MIB), "PUT range"))
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        file.upload_range(b"x" * (4 * MIB), 0, 4 * MIB)
    assert ranges(file) == []
    assert server.path("models", "file").read_bytes() == bytes(4 * MIB)


def test_a_cut_download_is_noticed(server: AzureFiles, share: ShareClient) -> None:
    file = share.get_file_client("file")
    file.upload_file(os.urandom(MIB))
    server.faults.append(Fault(CutDownload(after=1000), "GET"))
    with pytest.raises(AzureError):
        file.download_file().readall()
    assert len(file.download_file().readall()) == MIB


def test_a_lost_answer_was_carried_out(server: AzureFiles, share: ShareClient) -> None:
    staging = share.create_directory("staging")
    server.faults.append(Fault(LoseAnswer(), "PUT directory rename"))
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        staging.rename_directory("release")
    assert os.listdir(server.path("models")) == ["release"]
    file = share.get_file_client("file")
    file.upload_file(b"1234")
    server.faults.append(Fault(LoseAnswer(), "GET"))
    with pytest.raises(AzureError):
        file.download_file()


def test_a_bit_flipped_on_the_way_is_seen_by_md5_only(server: AzureFiles, share: ShareClient) -> None:
    file = share.get_file_client("file")
    file.upload_file(b"0123")
    server.faults.append(Fault(FlipBit(at=2), "GET", times=2))
    assert file.download_file().readall() == b"0133"
    with pytest.raises(AzureError, match="MD5"):
        file.download_file(validate_content=True).readall()
    assert server.path("models", "file").read_bytes() == b"0123"


def test_a_server_can_lie_about_md5_and_etag(server: AzureFiles, share: ShareClient) -> None:
    file = share.get_file_client("file")
    file.upload_file(b"0" * (8 * MIB))
    server.faults.append(Fault(Lie({"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}), "GET"))
    with pytest.raises(AzureError, match="MD5"):
        file.download_file(validate_content=True).readall()
    server.faults.append(Fault(Lie({"ETag": '"0x1"'}), "GET", after=1))
    with pytest.raises(ResourceModifiedError):
        file.download_file(validate_content=True).readall()


def test_a_fault_can_be_any_callable_and_wait(server: AzureFiles, share: ShareClient) -> None:
    server.faults.append(lambda asked: Stall(30) if asked.path == "slow" else None)
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        share.get_file_client("slow").create_file(1, read_timeout=0.2)
    share.get_file_client("quick").create_file(1)


def test_the_log_says_what_was_asked(server: AzureFiles, share: ShareClient) -> None:
    share.get_file_client("file").upload_file(b"1234")
    line = server.log[-1]
    assert (line.method, line.path, line.operation, line.span) == ("PUT", "models/file", "PUT range", "bytes=0-3")
    assert (line.auth, line.received, line.status, line.code) == ("SharedKey", 4, 201, "")
    assert KEY not in repr(server.log)


def test_many_clients_at_once(server: AzureFiles, share: ShareClient) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            file, data = share.get_file_client(f"file-{number}"), os.urandom(100_000)
            file.upload_file(data)
            assert file.download_file().readall() == data
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(os.listdir(server.path("models"))) == 24
