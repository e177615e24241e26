"""Addresses, credentials and names of Azure Files; nothing is sent."""

from __future__ import annotations

import logging

import pytest

from provisioner.errors import (
    AccessDenied,
    InvalidInput,
    MissingExtra,
    NotFound,
    ProvisionError,
    StoreError,
    StoreFull,
    Unavailable,
    UsageError,
)
from provisioner.model import RelPath, Tree, TreeEntry
from provisioner.stores.azurefiles import open_azure_files
from provisioner.stores.azurefiles.address import Address, parse_address
from provisioner.stores.azurefiles.client import Retries, retry_after
from provisioner.stores.azurefiles.errors import answered
from provisioner.stores.azurefiles.login import login
from provisioner.stores.azurefiles.names import require_names

KEY = "c2VjcmV0"
PUBLIC = "https://myacct.file.core.windows.net"
WHERE = Address("myacct", "models", "team/a")
STRING = f"DefaultEndpointsProtocol=https;AccountName=myacct;AccountKey={KEY};EndpointSuffix=core.windows.net"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("azurefiles://myacct/models/team/a", WHERE),
        ("azurefiles://myacct/models/team%20b/", Address("myacct", "models", "team b")),
        ("azurefiles://myacct/models/", Address("myacct", "models", "")),
        ("azurefiles://myacct/models", Address("myacct", "models", "")),
    ],
)
def test_an_address_is_an_account_a_share_and_a_path(text: str, expected: Address) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "azurefiles://",
        "azurefiles://myacct",
        "azurefiles://myacct/",
        "azurefiles://My_Acct/models",
        "azurefiles://myacct/Models",
        "azurefiles://myacct/mo--dels",
        "azurefiles://myacct/models/../other",
        "azurefiles://myacct/models/a?sv=2024&sig=SECRET",
        "azurefiles://myacct.file.core.windows.net/models",
        "s3://myacct/models",
    ],
)
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(UsageError) as failed:
        parse_address(text)
    assert "SECRET" not in f"{failed.value} {failed.value.hint}"


def test_the_connection_string_is_stronger_than_all_else() -> None:
    found = login(WHERE, {"AZURE_STORAGE_CONNECTION_STRING": STRING, "AZURE_STORAGE_SAS_TOKEN": "sig=x"})
    assert found.endpoint == "https://myacct.file.core.windows.net"
    assert found.credential == {"account_name": "myacct", "account_key": KEY}
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("variables", "endpoint", "credential"),
    [
        ({"AZURE_STORAGE_KEY": KEY}, PUBLIC, {"account_name": "myacct", "account_key": KEY}),
        ({"AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=x"}, PUBLIC, "sv=1&sig=x"),
        (
            {"AZURE_STORAGE_SAS_TOKEN": "sig=x", "AZURE_STORAGE_ENDPOINT_SUFFIX": "core.chinacloudapi.cn"},
            "https://myacct.file.core.chinacloudapi.cn",
            "sig=x",
        ),
        (
            {"AZURE_STORAGE_SAS_TOKEN": "sig=x", "PROVISION_AZURE_FILE_ENDPOINT": "https://files.example/"},
            "https://files.example",
            "sig=x",
        ),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": "FileEndpoint=https://myacct.file.core.windows.net/;SharedAccessSignature=?sig=x"},
            "https://myacct.file.core.windows.net",
            "sig=x",
        ),
    ],
    ids=["key", "signature", "another cloud", "endpoint", "connection string with a signature"],
)  # fmt: skip
def test_where_credentials_come_from(variables: dict[str, str], endpoint: str, credential: object) -> None:
    found = login(WHERE, variables)
    assert (found.endpoint, found.credential) == (endpoint, credential)


def test_without_any_of_them_azure_identity_is_asked() -> None:
    assert hasattr(login(WHERE, {}).credential, "get_token")


@pytest.mark.parametrize(
    "variables",
    [
        {"AZURE_STORAGE_CONNECTION_STRING": STRING.replace("myacct", "other")},
        {"AZURE_STORAGE_CONNECTION_STRING": "FileEndpoint=https://other.file.core.windows.net;SharedAccessSignature=sig=x"},
        {"AZURE_STORAGE_ACCOUNT": "other", "AZURE_STORAGE_KEY": KEY},
        {"AZURE_STORAGE_ACCOUNT": "other", "AZURE_STORAGE_SAS_TOKEN": f"sv=1&sig={KEY}"},
    ],
)  # fmt: skip
def test_credentials_of_another_account_are_refused(variables: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"is for the account other") as failed:
        login(WHERE, variables)
    assert KEY not in str(failed.value)


def test_a_connection_string_without_credentials_is_refused() -> None:
    with pytest.raises(UsageError, match="neither"):
        login(WHERE, {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=myacct"})


@pytest.mark.parametrize(
    "variables",
    [
        {"AZURE_STORAGE_SAS_TOKEN": "SECRET"},
        {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=myacct;SharedAccessSignature=SECRET"},
        {"AZURE_STORAGE_KEY": "SECRET", "PROVISION_AZURE_FILE_ENDPOINT": "files"},
        {"PROVISION_AZURE_FILE_ENDPOINT": "http://files.example"},  # a token would be sent in clear
        {"AZURE_STORAGE_SAS_TOKEN": "sig=SECRET", "PROVISION_AZURE_FILE_ENDPOINT": "http://files.example"},
        {"AZURE_STORAGE_CONNECTION_STRING": "FileEndpoint=http://files.example;SharedAccessSignature=sig=SECRET"},
        {
            "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=http;AccountName=myacct;"
            "SharedAccessSignature=sig=SECRET"
        },
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(variables: dict[str, str]) -> None:
    with pytest.raises(UsageError) as failed:
        login(WHERE, variables)
    assert "SECRET" not in f"{failed.value} {failed.value.hint}"


@pytest.mark.parametrize("host", ["127.0.0.1:10004", "localhost:10004", "[::1]:10004"])
def test_a_signature_may_go_in_clear_to_an_emulator_on_this_machine(host: str) -> None:
    variables = {"AZURE_STORAGE_SAS_TOKEN": "sig=x", "PROVISION_AZURE_FILE_ENDPOINT": f"http://{host}/myacct"}
    assert login(WHERE, variables).credential == "sig=x"


def test_opening_a_store_sends_nothing_and_its_name_has_no_secret() -> None:
    store = open_azure_files("azurefiles://myacct/models/team/a", None, {"AZURE_STORAGE_CONNECTION_STRING": STRING})
    assert store.name == "azurefiles://myacct/models/team/a"


def test_without_the_sdk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "azure.storage.fileshare", None)
    with pytest.raises(MissingExtra, match="Azure Files") as failed:
        open_azure_files("azurefiles://myacct/models", None, {"AZURE_STORAGE_SAS_TOKEN": "sig=x"})
    assert "[azure]" in failed.value.hint


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "ShareNotFound", NotFound),
        (404, "ResourceNotFound", NotFound),
        (404, "", NotFound),
        (401, "NoAuthenticationInformation", AccessDenied),
        (403, "AuthenticationFailed", AccessDenied),
        (403, "AuthorizationFailure", AccessDenied),
        (403, "AuthorizationPermissionMismatch", AccessDenied),
        (413, "ShareSizeLimitReached", StoreFull),
        (403, "ShareSizeLimitReached", StoreFull),
        (503, "ServerBusy", Unavailable),
        (500, "OperationTimedOut", Unavailable),
        (429, "TooManyRequests", Unavailable),
        (400, "Md5Mismatch", Unavailable),
        (206, "", Unavailable),
        (409, "SharingViolation", StoreError),
        (409, "ResourceAlreadyExists", StoreError),
        (400, "InvalidHeaderValue", StoreError),
        (412, "LeaseIdMissing", StoreError),
        (416, "InvalidRange", NotFound),
    ],
)
def test_answers_by_status_and_code(status: int, code: str, kind: type[ProvisionError]) -> None:
    found = answered("azurefiles://a/b", status, code, {})
    assert isinstance(found, kind)
    assert found.exit_code == kind.exit_code


def test_a_quiet_wait_is_told_when_the_service_asked_for_it() -> None:
    error = answered("azurefiles://a/b", 503, "ServerBusy", {"Retry-After": "17"})
    assert isinstance(error, Unavailable)
    assert error.retry_after == 17.0
    assert retry_after({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}) is None


@pytest.mark.parametrize(
    "path",
    ["a/CLOCK$", "clock$.txt", "a\x81b", "a\ue000b", "x/" * 246 + "y"],
)
def test_names_that_azure_files_cannot_hold(path: str) -> None:
    with pytest.raises(InvalidInput, match="Azure Files cannot hold") as failed:
        require_names(Tree.of([TreeEntry.generated(RelPath(path), b"")]), "store")
    assert repr(path)[1:-1] in str(failed.value)


def test_paths_that_differ_in_case_alone_cannot_stand_side_by_side() -> None:
    entries = [TreeEntry.generated(RelPath(path), b"") for path in ("a/Model.bin", "a/model.bin")]
    with pytest.raises(InvalidInput, match="only in case"):
        require_names(Tree.of(entries), "")


def test_ordinary_names_are_fine() -> None:
    paths = ("naïve résumé.txt", "日本語/モデル.safetensors", ".gitattributes", "a b/c", "emoji 🤗")
    require_names(Tree.of(TreeEntry.generated(RelPath(path), b"") for path in paths), "a/b")


def test_signatures_are_cut_out_of_what_urllib3_logs(caplog: pytest.LogCaptureFixture) -> None:
    open_azure_files("azurefiles://myacct/models", None, {"AZURE_STORAGE_SAS_TOKEN": "sig=x"}, Retries())
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3.connectionpool").debug('"%s %s"', "GET", "/models?sv=1&sig=SEC%2FRET&se=2")
    assert "SEC" not in caplog.text
    assert "sig=REDACTED&se=2" in caplog.text
