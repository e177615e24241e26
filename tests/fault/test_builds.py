"""Builds that others take for abandoned, and stores that somebody prepared to lead us astray."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from provisioner.errors import NotFound, StoreError, Unavailable, VerificationFailed
from provisioner.ops.pull import PatientPull
from provisioner.ports.events import silent
from provisioner.record import ReleaseRecord, dump
from provisioner.stores import owner
from provisioner.stores.directory import copying
from provisioner.stores.directory.build import DirectoryBuild
from tests.support.hub_fixture import Made, make
from tests.support.locks import MemorySource, document, small, snapshot, tree
from tests.support.patience import until
from tests.support.stores import QUICK, Backend, DirectoryBackend, findings, transfer

WEIGHTS = b"the same weights" * 100
ONE = make("org/one", {"config.json": b"{}", "model.safetensors": WEIGHTS, "tokenizer.json": b"[]"})
TWO = make("org/two", {"config.json": b"{ }", "model.safetensors": WEIGHTS, "tokenizer.json": b"[]"})


@pytest.fixture
def backend(tmp_path: Path) -> DirectoryBackend:
    return DirectoryBackend(tmp_path / "store")


def begun(backend: DirectoryBackend, made: Made) -> DirectoryBuild:
    """A build with all of its files, not published yet."""
    store = backend.open()
    store.observe(tree(made))
    build = store.build(tree(made))
    for entry in tree(made).entries:
        if entry.origin is None:
            build.generate(entry)
        else:
            pull = PatientPull(MemorySource(made), entry.origin, QUICK, silent, threading.Event())
            build.put(entry, pull, lambda _: None, 1)
    return build


def silence(backend: DirectoryBackend) -> None:
    """Let every build look as if another machine had begun it, and given no sign for an hour."""
    for mark in (backend.root / "staging").glob("*/owner.json"):
        mark.write_text(json.dumps({**json.loads(mark.read_text()), "host": "elsewhere"}))
        hour_ago = mark.stat().st_mtime - 3600
        os.utime(mark, (hour_ago, hour_ago))


def publish(build: DirectoryBuild, made: Made) -> bool:
    text = document(made)
    return build.publish(ReleaseRecord(tree(made), text.digest), text.text)


def during_sync(build: DirectoryBuild, act: Callable[[], object]) -> None:
    """Let something happen in the long moment in which a build is being synced."""

    class Slow(DirectoryBuild):
        def _sync(self, top: str) -> None:
            act()
            super()._sync(top)

    build.__class__ = Slow


def test_a_build_that_lost_a_file_to_another_run_is_not_published(backend: DirectoryBackend) -> None:
    build = begun(backend, ONE)
    silence(backend)
    other = transfer(document(TWO), backend.open(), MemorySource(TWO))
    assert other.report.resumed > 0
    with pytest.raises(Unavailable, match="was taken from this build"):
        publish(build, ONE)
    build.close()
    assert backend.open().releases() == (other.report.release,)
    again = transfer(document(ONE), backend.open(), MemorySource(ONE))
    assert findings(backend.open(), again.report.release) == {}


def test_nothing_is_taken_from_a_build_that_is_being_published(backend: DirectoryBackend) -> None:
    build = begun(backend, ONE)
    silence(backend)
    during_sync(build, lambda: transfer(document(TWO), backend.open(), MemorySource(TWO)))
    assert publish(build, ONE)
    build.close()
    assert {tree(ONE).release_id, tree(TWO).release_id} == set(backend.open().releases())
    for made in (ONE, TWO):
        assert findings(backend.open(), tree(made).release_id) == {}


def test_a_build_that_is_swept_while_it_is_published_publishes_nothing(backend: DirectoryBackend) -> None:
    build = begun(backend, ONE)
    silence(backend)
    during_sync(build, backend.open().sweep)
    with pytest.raises((NotFound, Unavailable)):
        publish(build, ONE)
    build.close()
    assert backend.open().releases() == ()
    assert backend.unfinished() == []


def test_a_build_shows_that_it_lives_whatever_it_is_busy_with(
    backend: DirectoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.02)
    build = begun(backend, ONE)
    (mark,) = (backend.root / "staging").glob("*/owner.json")
    os.utime(mark, (0, 0))
    until(lambda: mark.stat().st_mtime > 0)
    build.close()


def test_a_failing_disk_while_resuming_never_touches_an_earlier_release(
    backend: DirectoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of a dead build may be a second name of a release's file."""
    first = transfer(document(ONE), backend.open(), MemorySource(ONE)).report.release
    store = backend.open()
    held = store.observe(tree(TWO)).held
    build = store.build(tree(TWO))
    weights = next(entry for entry in tree(TWO).entries if entry.path == snapshot(TWO, "model.safetensors"))
    build.share(weights, held[weights.sha256], lambda _: None)
    build.close()
    good, failures = copying.hash_range, [OSError(errno.EIO, "Input/output error")]

    def fails_once(*args: object) -> object:
        if failures and args[2] == len(WEIGHTS) + 1:
            raise failures.pop()
        return good(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(copying, "hash_range", fails_once)
    bad = MemorySource(TWO)
    bad.content[weights.sha256] = b"x" * len(WEIGHTS)
    with pytest.raises(VerificationFailed):
        transfer(document(TWO), backend.open(), bad)
    assert findings(backend.open(), first) == {}


def test_a_symbolic_link_in_staging_leads_nowhere(backend: DirectoryBackend, tmp_path: Path) -> None:
    made = small()
    outside = tmp_path / "outside"
    for entry in tree(made).entries:
        place = outside / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"precious"[: entry.size].ljust(entry.size, b"!"))
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    backend.open().create()
    evil = backend.root / "staging" / f"{tree(made).release_id}.1"
    evil.mkdir()
    (evil / "owner.json").write_bytes(owner.GONE)
    text = document(made)
    (evil / "expected.json").write_bytes(dump(ReleaseRecord(tree(made), text.digest)))
    (evil / "tree").symlink_to(outside)
    release = transfer(text, backend.open(), MemorySource(made)).report.release
    assert findings(backend.open(), release) == {}
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before


def test_a_release_that_is_a_link_or_a_copy_of_another_does_not_count(backend: DirectoryBackend) -> None:
    release = transfer(document(ONE), backend.open(), MemorySource(ONE)).report.release
    (backend.root / "releases" / release).rename(backend.root / "moved")
    (backend.root / "releases" / release).symlink_to(backend.root / "moved")
    assert findings(backend.open(), release) == {".": "wrong-type"}


def test_a_damaged_release_is_not_activated(backend: DirectoryBackend) -> None:
    release = transfer(document(ONE), backend.open(), MemorySource(ONE)).report.release
    backend.delete(release, snapshot(ONE, "model.safetensors"))
    with pytest.raises(VerificationFailed, match="is damaged"):
        backend.open().activate(release)
    assert backend.open().active() is None


def test_what_is_in_the_way_of_a_release_is_not_taken_for_it(apart: Backend) -> None:
    store, wanted, document_ = apart.open(), tree(ONE), document(ONE)
    store.observe(wanted)
    build = store.build(wanted)
    for entry in wanted.entries:
        if entry.origin is None:
            build.generate(entry)
        else:
            pull = PatientPull(MemorySource(ONE), entry.origin, QUICK, silent, threading.Event())
            build.put(entry, pull, lambda _: None, 1)
    apart.overwrite(wanted.release_id, "stray", b"not a release")
    with pytest.raises(StoreError, match="in the way") as failed:
        build.publish(ReleaseRecord(wanted, document_.digest), document_.text)
    assert "--repair" in failed.value.hint
    build.close()
    assert apart.read(wanted.release_id, "stray") == b"not a release"
    assert len(apart.unfinished()) == 1
    run = transfer(document_, apart.open(), MemorySource(ONE), anew=True)
    assert run.report.moved == 0  # all of it was kept
    assert findings(apart.open(), wanted.release_id) == {}
