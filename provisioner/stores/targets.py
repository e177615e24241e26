"""From an address on the command line to a store."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote, urlsplit

from provisioner.errors import NotFound, UsageError
from provisioner.ports.store import Modes, Store
from provisioner.stores.directory import DirectoryStore

# Mounted volumes: the variable that says where, and where they are mounted unless it says otherwise.
VOLUMES = {
    "pvc": ("PROVISION_PVC_DIR", "/mnt/models"),
    "nfs": ("PROVISION_NFS_DIR", "/mnt/nfs"),
}
_REMOTE = re.compile(r"[^/]*:")  # as scp and rsync write other machines
_TYPO = re.compile(r"(s3|minio|azurefiles|file):", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://")


def open_mounted(address: str) -> DirectoryStore:
    """A store whose releases are folders on this machine. Raises UsageError for any other."""
    store = open_store(address)
    if not isinstance(store, DirectoryStore):
        raise UsageError(f"{store.name} is not mounted here.", hint="Mirror it to a folder or mount it first.")
    return store


def open_store(address: str, modes: Modes | None = None) -> Store:
    """The store at `pvc`, `nfs`, `file:///PATH`, a path, or one of s3://, minio:// and azurefiles://.

    Raises NotFound when a named volume is not mounted, UsageError for an address that means nothing.
    """
    modes = modes or Modes()
    if address in VOLUMES:
        return DirectoryStore(_volume(address), modes)
    if match := _SCHEME.match(address):
        return _remote(address, match[1]) or DirectoryStore(_file_url(address, match[1]), modes)
    if not os.path.isdir(address) and (meant := _TYPO.match(address)):
        scheme = meant[1].lower()
        raise UsageError(
            f"{address!r} is no store.", hint=f"Did you mean {scheme}://{address[meant.end() :].lstrip('/')}?"
        )
    if not os.path.isdir(address) and _is_no_path(address):
        raise UsageError(
            f"{address!r} is no store: neither pvc, nor nfs, nor a folder that exists.",
            hint=f"For a new folder here write ./{address}",
        )
    return DirectoryStore(os.path.abspath(address), modes)


def require_store(address: str) -> Store:
    """The store at an address where there is one. Raises NotFound where none is yet, UsageError."""
    store = open_store(address)
    if not store.exists():
        raise NotFound(
            f"There is no store at {store.name}.", hint="Check the address, or run provision fetch or mirror first."
        )
    return store


def _remote(address: str, scheme: str) -> Store | None:
    """The store behind an address that only one kind of store has; their SDKs are imported no earlier than here."""
    if scheme == "s3":
        from provisioner.stores.objects.addresses import open_s3

        return open_s3(address)
    if scheme == "minio":
        from provisioner.stores.objects.addresses import open_minio

        return open_minio(address)
    if scheme == "azurefiles":
        from provisioner.stores.azurefiles import open_azure_files

        return open_azure_files(address)
    return None


def _is_no_path(address: str) -> bool:
    """A bare word is more likely a mistyped `pvc` than a folder to make; `HOST:PATH` is another machine."""
    return ("/" not in address and not address.startswith((".", "~"))) or bool(_REMOTE.match(address))


def _volume(name: str) -> str:
    variable, default = VOLUMES[name]
    path = os.environ.get(variable) or default
    if not os.path.isdir(path):
        raise NotFound(
            f"There is no volume mounted at {path}.",
            hint=f"Mount the {name} there, or set {variable} to where it is mounted.",
        )
    return os.path.abspath(path)


def _file_url(address: str, scheme: str) -> str:
    parts = urlsplit(address)
    if scheme != "file":
        raise UsageError(
            f"{scheme}:// is not a store this version knows.",
            hint="Use pvc, nfs, a path, file://, s3://, minio:// or azurefiles://.",
        )
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise UsageError(f"{address} is not a local file URL.", hint="Write file:///PATH with three slashes.")
    return os.path.abspath(unquote(parts.path))
