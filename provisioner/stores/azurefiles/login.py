"""Who we are for Azure: from the environment, in the order that Azure's own tools use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from provisioner.errors import MissingExtra, UsageError
from provisioner.stores.azurefiles.address import Address

CONNECTION_STRING = "AZURE_STORAGE_CONNECTION_STRING"
ACCOUNT = "AZURE_STORAGE_ACCOUNT"
KEY = "AZURE_STORAGE_KEY"
SAS = "AZURE_STORAGE_SAS_TOKEN"
SUFFIX = "AZURE_STORAGE_ENDPOINT_SUFFIX"
ENDPOINT = "PROVISION_AZURE_FILE_ENDPOINT"
PUBLIC = "core.windows.net"
_HERE = ("localhost", "127.0.0.1", "::1")  # an emulator on this machine; nothing goes over a network
HINT = f"Set {CONNECTION_STRING}, {KEY} or {SAS}, or sign in (az login, workload identity)."


@dataclass(frozen=True, slots=True)
class Login:
    """How to reach an account.

    Attributes:
        endpoint: URL of the account's file service.
        credential: what the SDK takes: a signature (text), a key (a dict), or a token credential.
        source: the variable it came from, or "" for azure-identity.
    """

    endpoint: str
    credential: Any = field(repr=False)
    source: str = ""


def login(address: Address, environment: Mapping[str, str]) -> Login:
    """The strongest credential of the environment. Raises UsageError when it is another account's, MissingExtra."""
    if text := environment.get(CONNECTION_STRING):
        return _from_connection_string(address, text, environment)
    endpoint = _endpoint(address, environment)
    key, sas = environment.get(KEY), environment.get(SAS)
    if key or sas:
        _require_account(address, environment.get(ACCOUNT) or address.account, ACCOUNT)
    if key:
        return Login(endpoint, _shared(address.account, key), KEY)
    if sas:
        return Login(endpoint, _signature(sas, SAS, endpoint), SAS)
    if not endpoint.startswith("https://"):
        raise UsageError(f"{ENDPOINT} is not https, and a token goes nowhere else.", hint=HINT)
    return Login(endpoint, _identity())


def _from_connection_string(address: Address, text: str, environment: Mapping[str, str]) -> Login:
    pairs = [part.partition("=") for part in text.strip().strip(";").split(";")]
    parts = {name.strip().lower(): value for name, _, value in pairs}
    own = "" if environment.get(ENDPOINT) else parts.get("fileendpoint", "")
    endpoint = own or _endpoint(address, environment, parts)
    if named := parts.get("accountname") or _account_of(endpoint):
        _require_account(address, named, CONNECTION_STRING)
    if key := parts.get("accountkey"):
        return Login(endpoint.rstrip("/"), _shared(address.account, key), CONNECTION_STRING)
    if sas := parts.get("sharedaccesssignature"):
        return Login(endpoint.rstrip("/"), _signature(sas, CONNECTION_STRING, endpoint), CONNECTION_STRING)
    raise UsageError(
        f"{CONNECTION_STRING} has neither AccountKey nor SharedAccessSignature.",
        hint="Copy it again from the portal (Access keys), or: az storage account show-connection-string",
    )


def _endpoint(address: Address, environment: Mapping[str, str], parts: Mapping[str, str] | None = None) -> str:
    if given := environment.get(ENDPOINT):
        if not urlsplit(given).hostname or not given.startswith(("https://", "http://")):
            raise UsageError(f"{ENDPOINT} is not a URL.", hint="Write https://ACCOUNT.file.SUFFIX")
        return given.rstrip("/")
    suffix = (parts or {}).get("endpointsuffix") or environment.get(SUFFIX) or PUBLIC
    scheme = (parts or {}).get("defaultendpointsprotocol") or "https"
    return f"{scheme}://{address.account}.file.{suffix.strip('.')}"


def _account_of(endpoint: str) -> str:
    """The account in the host name, or "" where it is not in there."""
    name, dot, _ = (urlsplit(endpoint).hostname or "").partition(".file.")
    return name if dot else ""


def _require_account(address: Address, named: str, variable: str) -> None:
    if named != address.account:
        raise UsageError(
            f"{variable} is for the account {named}, and {address} is in {address.account}.",
            hint=f"Correct the address, or unset {variable}.",
        )


def _shared(account: str, key: str) -> dict[str, str]:
    return {"account_name": account, "account_key": key.strip()}


def _signature(text: str, variable: str, endpoint: str) -> str:
    """The SDK would take a text without `sig=` for an account key, and send a signature in clear."""
    url = urlsplit(endpoint)
    if url.scheme != "https" and url.hostname not in _HERE:
        raise UsageError(
            f"The endpoint is not https, and the signature in {variable} goes nowhere else.",
            hint=f"Write https:// in {ENDPOINT} or {CONNECTION_STRING}.",
        )
    text = text.strip().lstrip("?")
    if "sig" not in parse_qs(text):
        raise UsageError(f"{variable} holds no shared access signature.", hint="It has to look like sv=...&sig=...")
    return text


def _identity() -> Any:
    """Whatever azure-identity finds: workload identity, managed identity, the Azure CLI."""
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError:
        raise MissingExtra("Signing in to Azure", "azure") from None
    return DefaultAzureCredential()
