"""A store in a directory: a local folder, or a mounted PVC, NFS export or Azure file share."""

from provisioner.stores.directory.store import DirectoryStore

__all__ = ["DirectoryStore"]
