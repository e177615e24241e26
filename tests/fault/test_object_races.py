"""A bucket in which somebody deletes, lies or loses answers at the worst moment: no release ever lacks a file."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from provisioner import lockfile
from provisioner.errors import Unavailable, UsageError
from provisioner.model import Digest, LockedFile
from provisioner.ops.documents import LockDocument
from provisioner.ops.releases import prune, to_prune
from provisioner.ports.store import HalfPublished
from provisioner.record import LOCK_NAME, RECORD_NAME, ReleaseRecord
from provisioner.stores.objects import marker
from provisioner.stores.objects.s3 import S3Bucket
from tests.contract.test_store import put_all
from tests.support import s3_fault_actions as act
from tests.support.faulty_store import PART, WEIGHTS, Through, impatient, through
from tests.support.hub_fixture import make
from tests.support.locks import MemorySource, document, lock_of, small, snapshot, tree
from tests.support.patience import PATIENCE
from tests.support.stores import findings, transfer

# Wang and Yu's first published pair: different bytes of equal MD5, and so is whatever follows both.
TWINS = (
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f8955ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbd"
    "f280373c5bd8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8"
    "839396f9652b6ff72a70",
    "d131dd02c5e6eec4693d9a0698aff95c2fcab50712467eab4004583eb8fb7f8955ad340609f4b30283e4888325f1415a085125e8f7cdc99fd91dbd"
    "7280373c5bd8823e3156348f5bae6dacd436c919c6dd53e23487da03fd02396306d248cda0e99f33420f577ee8ce54b67080280d1ec69821bcb6a8"
    "839396f965ab6ff72a70",
)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Through]:
    impatient(monkeypatch)
    with through() as found:
        yield found


class Deletes(act.Action):
    """Once the server has answered, somebody deletes a file and every sign of life; then perhaps the answer is lost."""

    def __init__(self, line: Through, lose: bool = False) -> None:
        self._line, self._lose = line, lose

    def before_response(self, exchange: act.Exchange) -> None:
        store = self._line.direct
        for key in list(store.keys()):
            if key.startswith("staging/") or key.endswith("tokenizer.json"):
                store.client.delete_object(Bucket=store.bucket, Key=store.key("x").partition("releases/")[0] + key)
        if self._lose:
            raise act.Cut


@pytest.mark.parametrize("lose", [False, True])
def test_a_release_whose_files_went_while_it_was_published_is_taken_back(line: Through, lose: bool) -> None:
    line.fault(Deletes(line, lose), method="PUT", key=RECORD_NAME)
    with pytest.raises(Unavailable, match=r"tokenizer\.json"):
        transfer(document(small()), line.store.open(), MemorySource(small()))
    assert line.direct.open().releases() == ()
    transfer(document(small()), line.direct.open(), MemorySource(small()))
    line.assert_whole(small())


def test_what_cannot_be_taken_back_is_no_success(line: Through) -> None:
    line.fault(Deletes(line), method="PUT", key=RECORD_NAME)
    line.fault(act.access_denied(), method="POST", query="delete", times=None)
    with pytest.raises(HalfPublished, match=r"lacks .*tokenizer\.json"):
        transfer(document(small()), line.store.open(), MemorySource(small()))


def test_a_record_whose_answer_was_lost_is_ours(line: Through) -> None:
    line.fault(act.LoseAnswer(), method="PUT", key=RECORD_NAME)
    run = transfer(document(small()), line.store.open(), MemorySource(small()))
    assert run.notices == []
    assert line.proxy.count("PUT", RECORD_NAME) == 2
    line.assert_whole(small())


@pytest.mark.parametrize("published", [False, True])
def test_a_deleter_that_was_paused_is_seen_by_those_who_build(
    line: Through, monkeypatch: pytest.MonkeyPatch, published: bool
) -> None:
    made, release = small(), tree(small()).release_id
    if published:
        transfer(document(made), line.direct.open(), MemorySource(made))
    else:
        store = line.direct.open()
        store.observe(tree(made))
        build = store.build(tree(made))
        put_all(build, made)
        build.close()
    reached, go, deleting = threading.Event(), threading.Event(), S3Bucket.delete

    def slow(bucket: S3Bucket, keys: Iterable[str]) -> None:
        keys = list(keys)
        if threading.current_thread() is thread and any(key.endswith("tokenizer.json") for key in keys):
            reached.set()
            assert go.wait(PATIENCE)
        deleting(bucket, keys)

    monkeypatch.setattr(S3Bucket, "delete", slow)
    other = line.direct.open()
    thread = threading.Thread(target=lambda: other.remove(release) if published else other.sweep())
    thread.start()
    assert reached.wait(PATIENCE)
    with pytest.raises(Unavailable, match="being deleted"):
        transfer(document(made), line.direct.open(), MemorySource(made))
    assert line.direct.open().releases() == ()
    go.set()
    thread.join()
    transfer(document(made), line.direct.open(), MemorySource(made))
    line.assert_whole(made)


def test_what_somebody_builds_is_neither_removed_nor_swept(line: Through) -> None:
    made, store = small(), line.direct.open()
    release = transfer(document(made), store, MemorySource(made)).report.release
    store.observe(tree(made), anew=True)
    build = store.build(tree(made), replaces=False)
    with pytest.raises(Unavailable, match="being built"):
        line.direct.open().remove(release)
    assert line.direct.open().sweep() == ()
    build.close()
    line.assert_whole(made)
    line.direct.open().remove(release)
    assert line.direct.keys() == {}


def test_a_process_that_was_paused_takes_itself_for_dead(line: Through, monkeypatch: pytest.MonkeyPatch) -> None:
    made, store = small(), line.direct.open()
    store.observe(tree(made))
    build = store.build(tree(made))
    put_all(build, made)
    monkeypatch.setattr(marker, "STALE_SECONDS", -1.0)
    with pytest.raises(Unavailable, match="taken for dead"):
        build.publish(ReleaseRecord(tree(made), document(made).digest), document(made).text)
    monkeypatch.undo()
    build.close()
    line.assert_nothing_is_visible()


def test_the_release_that_is_active_survives_an_interrupted_repair_and_a_prune(line: Through) -> None:
    made, store = small(), line.direct.open()
    release = transfer(document(made), store, MemorySource(made)).report.release
    store.activate(release)
    store.observe(tree(made), anew=True)
    store.build(tree(made), replaces=True).close()
    assert store.releases() == ()
    with pytest.raises(UsageError, match="active release is not there"):
        to_prune(store, 1)
    assert store.sweep() == ()
    assert line.direct.read(release, snapshot(made, WEIGHTS)) == made.content[WEIGHTS]
    transfer(document(made), line.direct.open(), MemorySource(made))
    assert findings(store, release) == {}


def test_a_release_that_was_activated_meanwhile_is_not_pruned(line: Through) -> None:
    store = line.direct.open()
    old, new = (
        transfer(document(made), store, MemorySource(made)).report.release for made in (small(), small(tokenizer=b"{}"))
    )
    store.activate(new)
    doomed = to_prune(store, 1)
    store.activate(old)
    assert old in {*doomed, new}
    assert old not in prune(store, (old,))
    assert set(store.releases()) == {old, new}


def test_two_locks_of_one_tree_do_not_mix(line: Through) -> None:
    made = small()
    first, text = document(made), lockfile.dump(lock_of(replace(made, model=replace(made.model, license="mit"))))
    second = LockDocument(lockfile.parse(text), text)
    builds = []
    for _ in range(2):
        store = line.direct.open()
        store.observe(tree(made))
        builds.append(store.build(tree(made)))
        put_all(builds[-1], made)
    store = line.direct.open()
    line.direct.overwrite(tree(made).release_id, LOCK_NAME, second.text)
    with pytest.raises(Unavailable, match="another lock"):
        builds[0].publish(ReleaseRecord(tree(made), first.digest), first.text)
    builds[1].close()
    assert builds[0].publish(ReleaseRecord(tree(made), first.digest), first.text)
    builds[0].close()
    release = tree(made).release_id
    assert store.record(release).lock == hashlib.sha256(store.lock_text(release)).hexdigest()


def test_a_412_that_nobody_asked_for_is_no_success(line: Through) -> None:
    line.fault(_Precondition(), method="PUT", key="tokenizer.json", times=None)
    with pytest.raises(Unavailable, match="412"):
        transfer(document(small()), line.store.open(), MemorySource(small()))
    line.assert_nothing_is_visible()


class _Precondition(act.Action):
    def answer(self, exchange: act.Exchange) -> act.Answer | None:
        return act.Answer(412, "PreconditionFailed")


class _Stops(MemorySource):
    """Gives other bytes, and not all of them."""

    @contextmanager
    def open(self, file: LockedFile, start: int, stop: int) -> Iterator[Any]:
        with super().open(file, start, stop) as stream:
            yield _Stopping(stream, start) if file.file.path == WEIGHTS else stream


class _Stopping:
    def __init__(self, stream: Any, start: int) -> None:
        self._stream, self._at = stream, start

    def readinto(self, buffer: memoryview, /) -> int:
        if self._at >= PART + PART // 2:
            raise Unavailable("gone")
        count: int = self._stream.readinto(buffer[: PART // 2])
        self._at += count
        return count


def test_a_part_with_the_right_md5_and_the_wrong_bytes_is_found(line: Through) -> None:
    tail = random.Random(1).randbytes(2 * PART)
    good, evil = (bytes.fromhex(twin) + tail for twin in TWINS)
    assert hashlib.md5(good[:PART]).digest() == hashlib.md5(evil[:PART]).digest() != hashlib.md5(tail).digest()
    made = make("org/twins", {"config.json": b"{}", WEIGHTS: good})
    hostile = _Stops(made, name="hostile")
    hostile.content[Digest(hashlib.sha256(good).hexdigest())] = evil
    transfer(document(made), line.store.open(), hostile, MemorySource(made, name="honest"))
    line.assert_whole(made)
