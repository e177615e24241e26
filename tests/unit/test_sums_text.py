"""SHA256SUMS as text, and which folder is a model's own."""

from __future__ import annotations

import hashlib

import pytest

from provisioner.emit.sums import folder_of, sums
from provisioner.errors import NotFound, UsageError
from provisioner.model import Digest, Layout
from provisioner.record import ReleaseRecord
from tests.support.hub_fixture import make
from tests.support.locks import SMALL, lock_of, tree, with_layouts

FLAT = with_layouts(make("org/small", SMALL), Layout.HUB, Layout.FLAT)
OTHER = make("org/Small-2", {"a b é.txt": b"", "config.json": b"{}"}, layouts=(Layout.FLAT,))
LOCK = lock_of(FLAT, OTHER)
RECORD = ReleaseRecord(tree(FLAT, OTHER), Digest("ab" * 32))


def read(text: str) -> dict[str, str]:
    assert text.endswith("\n")
    return {line[66:]: line[:64] for line in text.splitlines() if line[64:66] == "  "}


def test_a_release_has_every_file_and_its_lock() -> None:
    found = read(sums(RECORD))
    assert found == {str(e.path): str(e.sha256) for e in RECORD.tree.entries} | {"models.lock": "ab" * 32}
    assert list(found) == sorted(found, key=str.encode)


def test_a_folder_has_its_own_files_with_paths_below_it() -> None:
    assert read(sums(RECORD, "models/small")) == {p: hashlib.sha256(c).hexdigest() for p, c in SMALL.items()}
    assert set(read(sums(RECORD, "models/Small-2"))) == {"a b é.txt", "config.json"}


def test_the_flat_folder_comes_first() -> None:
    assert folder_of(LOCK, "org/small", None) == folder_of(LOCK, "SMALL", None) == "models/small"
    assert folder_of(LOCK, "org/small", Layout.HUB) == "hub/models--org--small"
    assert folder_of(lock_of(make("org/x", SMALL)), "x", None) == "hub/models--org--x"


def test_models_that_are_not_there_or_not_alone() -> None:
    with pytest.raises(NotFound):
        folder_of(LOCK, "org/none", None)
    with pytest.raises(NotFound):
        folder_of(LOCK, "Small-2", Layout.HUB)
    with pytest.raises(UsageError):
        folder_of(lock_of(make("a/x", SMALL), make("b/x", SMALL)), "x", None)
