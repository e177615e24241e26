"""Documents that no schema has to see: what the TOML reader itself chokes on, and names that meet on disk."""

from __future__ import annotations

import pytest

from provisioner.errors import InvalidDocument
from provisioner.layout import tree_of
from provisioner.lockfile import dump, parse
from provisioner.model import Layout, collisions
from tests.support.hub_fixture import make
from tests.support.locks import lock_of


@pytest.mark.parametrize(
    "text",
    [
        b"version = " + b"9" * 5000,
        b"version = 0x" + b"f" * 6000,
        b"version = 1\nmodels = " + b"[" * 100_000,
        b"version = 1\nmodels = 0x" + b"f" * 6000,
        b"version = 1\n[[models]]\nfiles = [{path = 'a', size = 0x" + b"f" * 6000 + b", sha256 = ''}]",
        b"version = 1\n[[models]]\nfiles = [{path = 'a', size = 1e999, sha256 = ''}]",
        b"version = 2026-13-45",
        b"\xff\xfe",
    ],
)
def test_whatever_the_reader_chokes_on_is_no_traceback(text: bytes) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse(text, "some.lock")
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith("some.lock has ")


@pytest.mark.parametrize("revision", ["main/x", "Main", "MAIN/x/y"])
def test_a_revision_that_cannot_stand_beside_refs_main(revision: str) -> None:
    made = [make("org/a", {"a": b""}), make("org/b", {"b": b""}, revision=revision)]
    assert collisions(tuple(entry.path for entry in tree_of(lock_of(*made)).entries))
    with pytest.raises(InvalidDocument) as caught:
        parse(dump(lock_of(*made)))
    assert [problem.place for problem in caught.value.problems] == ["models[1].revision"]
    flat = make("org/b", {"b": b""}, revision=revision, layouts=(Layout.FLAT,))
    assert parse(dump(lock_of(flat))).models


@pytest.mark.parametrize("revision", ["main", "mainline", "v1/main", "main.x"])
def test_other_revisions_can(revision: str) -> None:
    assert parse(dump(lock_of(make("org/a", {"a": b""}, revision=revision)))).models
