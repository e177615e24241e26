"""sha256 of open files, streaming."""

from provisioner.hashing.streams import BLOCK, Buffer, hash_range, new_buffer

__all__ = ["BLOCK", "Buffer", "hash_range", "new_buffer"]
