"""`azurefiles://ACCOUNT/SHARE/PATH`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from provisioner.errors import UsageError
from provisioner.model import RelPath

SCHEME = "azurefiles://"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_SHARE = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is.

    Attributes:
        path: the folder in the share, without slashes at its ends; "" for the share itself.
    """

    account: str
    share: str
    path: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.account}/{self.share}/{self.path}".rstrip("/")


def parse_address(text: str) -> Address:
    """Raises UsageError for anything that is not `azurefiles://ACCOUNT/SHARE[/PATH]`."""
    account, _, rest = text.removeprefix(SCHEME).partition("/")
    share, _, path = rest.partition("/")
    path = unquote(path).strip("/")
    if not text.startswith(SCHEME) or not _ACCOUNT.fullmatch(account) or not _SHARE.fullmatch(share):
        raise UsageError(  # what was written is not repeated: it may be a URL with a signature
            "This is not the address of an Azure file share.", hint=f"Write {SCHEME}ACCOUNT/SHARE/PATH"
        )
    try:
        return Address(account, share, RelPath(path) if path else "")
    except ValueError as error:
        raise UsageError(
            f"The path of {SCHEME}{account}/{share} is {error}.", hint="A SAS goes into AZURE_STORAGE_SAS_TOKEN."
        ) from None
