"""The lock file on disk: read whole, written whole."""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

from provisioner.errors import InvalidDocument, NotFound, PolicyRefused, Problem, StoreError
from provisioner.lockfile import dump, parse
from provisioner.model import Digest, Lock
from provisioner.rules.policy import policy_problems
from provisioner.rules.structure import structure_problems


@dataclass(frozen=True, slots=True)
class LockDocument:
    """A lock together with the bytes it was read from."""

    lock: Lock
    text: bytes

    @property
    def digest(self) -> Digest:
        """sha256 of the text."""
        return Digest(hashlib.sha256(self.text).hexdigest())


def read_lock(path: str) -> LockDocument:
    """Read and parse a lock. Raises NotFound, StoreError, InvalidDocument."""
    try:
        with open(path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        raise NotFound(f"There is no lock {path}.", hint="Make one with: provision lock add ORG/NAME") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from None
    return LockDocument(parse(text, path), text)


def open_lock(path: str) -> LockDocument:
    """A lock that a transfer may act on: parsed, and within its own policy and structure.

    Raises NotFound, StoreError, InvalidDocument, PolicyRefused.
    """
    document = read_lock(path)
    if not document.lock.models:
        raise InvalidDocument(
            path, (Problem("models", "there are none"),), hint="Add one with: provision lock add ORG/NAME"
        )
    policy = tuple(chain.from_iterable(map(policy_problems, document.lock.models)))
    if policy:
        raise PolicyRefused(path, policy, hint="Allow it by name in the lock, or choose other files.")
    structure = tuple(chain.from_iterable(structure_problems(model, {}, None) for model in document.lock.models))
    if structure:
        raise InvalidDocument(path, structure, hint="Lock the model again: provision lock update")
    return document


def write_lock(path: str, lock: Lock) -> bool:
    """Replace the lock atomically; False when it already says exactly this. Raises StoreError."""
    text = dump(lock)
    with suppress(OSError), open(path, "rb") as file:
        if file.read() == text:
            return False
    path = os.path.realpath(path)  # a lock that is a link stays one
    temporary = f"{path}.{secrets.token_hex(6)}"
    try:
        _write(temporary, text)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise StoreError(f"{path} cannot be written: {error.strerror}.") from None
    return True


def _write(path: str, text: bytes) -> None:
    with open(path, "xb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
