"""What every store must do, whatever it is made of."""

from __future__ import annotations

import hashlib
import threading

import pytest

from provisioner.errors import NotFound, ProvisionError, VerificationFailed
from provisioner.model import LockedFile
from provisioner.ops.pull import PatientPull
from provisioner.plan import Move, Share, plan
from provisioner.ports.events import silent
from provisioner.ports.store import Build, Store
from provisioner.record import LOCK_NAME, RECORD_NAME, ReleaseRecord
from provisioner.report import Evidence
from tests.support.hub_fixture import Made, make
from tests.support.locks import MemorySource, document, small, snapshot, tree
from tests.support.stores import QUICK, Backend, DirectoryBackend, findings, transfer

ODD = {
    "config.json": b"{}",
    "empty.txt": b"",
    "deep/" * 30 + "leaf.txt": b"at the bottom",
    "with space/naïve résumé.txt": b"unicode",
    "日本語/モデル.safetensors": b"weights",
    ".gitattributes": b"dotted",
    "model.safetensors": bytes(70_000),
    "copy of it.safetensors": bytes(70_000),
}


def put_all(build: Build, made: Made, source: MemorySource | None = None) -> None:
    """Every entry of a model's tree, one by one, each by its own way in."""
    source = source or MemorySource(made)
    for entry in tree(made).entries:
        if entry.origin is None:
            build.generate(entry)
        else:
            build.put(entry, pull(source, entry.origin), lambda _: None, 1)


def pull(source: MemorySource, file: LockedFile) -> PatientPull:
    return PatientPull(source, file, QUICK, silent, threading.Event())


def publish(backend: Backend, made: Made) -> str:
    return transfer(document(made), backend.open(), MemorySource(made)).report.release


def test_an_empty_store_holds_nothing(backend: Backend) -> None:
    store = backend.open()
    assert store.releases() == ()
    assert store.active() is None
    assert store.sweep() == ()
    with pytest.raises(NotFound):
        store.record("0" * 12)
    with pytest.raises(NotFound):
        store.lock_text("0" * 12)
    with pytest.raises(NotFound):
        store.activate("0" * 12)
    with pytest.raises(NotFound):
        store.remove("0" * 12)


@pytest.mark.parametrize("name", ["", ".", "..", "../releases", "ABCDEF012345", "0" * 11, "0" * 13, "current"])
def test_what_is_no_release_name_is_never_a_path(backend: Backend, name: str) -> None:
    publish(backend, small())
    store = backend.open()
    for call in (store.record, store.lock_text, store.activate, store.remove):
        with pytest.raises(NotFound):
            call(name)
    assert len(store.releases()) == 1


def test_observe_reports_what_the_place_can_do(backend: Backend) -> None:
    store = backend.open()
    store.create()
    observed = store.observe(tree(small()))
    assert not observed.published
    assert (observed.held, observed.partial, observed.damage) == ({}, {}, ())
    assert observed.capabilities.hard_links is backend.hard_links
    assert observed.capabilities.chmod is backend.chmod
    assert observed.capabilities.free is None or observed.capabilities.free > 0


def test_nothing_is_visible_before_publish_and_everything_after(backend: Backend) -> None:
    made, store = make("org/odd", ODD), backend.open()
    wanted = tree(made)
    store.observe(wanted)
    build = store.build(wanted)
    put_all(build, made)
    other = backend.open()
    assert other.releases() == ()
    assert not other.observe(wanted).published
    with pytest.raises(NotFound):
        other.record(wanted.release_id)
    lock = document(made)
    assert build.publish(ReleaseRecord(wanted, lock.digest, "2026-01-01T00:00:00Z"), lock.text)
    build.close()
    assert other.releases() == (wanted.release_id,)
    assert other.lock_text(wanted.release_id) == lock.text
    record = other.record(wanted.release_id)
    assert (record.tree, record.lock, record.created) == (wanted, lock.digest, "2026-01-01T00:00:00Z")
    assert other.observe(wanted).published
    assert findings(other, wanted.release_id) == {}
    assert backend.unfinished() == []


def test_what_was_published_is_what_was_locked(backend: Backend) -> None:
    made = make("org/odd", ODD)
    release = publish(backend, made)
    for path, data in ODD.items():
        assert backend.read(release, snapshot(made, path)) == data
    assert backend.read(release, "hub/models--org--odd/refs/main") == made.model.commit.encode()


def test_a_second_transfer_moves_nothing(backend: Backend) -> None:
    made, source = small(), MemorySource(small())
    first = transfer(document(made), backend.open(), source)
    asked = len(source.asked)
    second = transfer(document(made), backend.open(), source)
    assert (first.report.changed, second.report.changed) == (True, False)
    assert (second.report.moved, second.report.shared, second.report.resumed) == (0, 0, 0)
    assert len(source.asked) == asked
    assert second.events == []


def test_publishing_what_is_there_already_changes_nothing(backend: Backend) -> None:
    made, first, second = small(), backend.open(), backend.open()
    wanted, lock = tree(made), document(made)
    builds = []
    for store in (first, second):
        store.observe(wanted)
        builds.append(store.build(wanted))
        put_all(builds[-1], made)
    assert builds[0].publish(ReleaseRecord(wanted, lock.digest, "first"), lock.text)
    assert not builds[1].publish(ReleaseRecord(wanted, lock.digest, "second"), lock.text)
    for build in builds:
        build.close()
    assert first.record(wanted.release_id).created == "first"
    assert findings(first, wanted.release_id) == {}
    assert backend.unfinished() == []


def test_bytes_that_are_not_the_locked_ones_are_refused_and_gone(backend: Backend) -> None:
    made, store = small(), backend.open()
    wanted, source = tree(made), MemorySource(made)
    entry = next(entry for entry in wanted.entries if entry.path.endswith("model.safetensors"))
    good = source.content[entry.sha256]
    source.content[entry.sha256] = good[:-1] + bytes([good[-1] ^ 1])
    store.observe(wanted)
    build = store.build(wanted)
    assert entry.origin is not None
    with pytest.raises(VerificationFailed, match=r"model\.safetensors"):
        build.put(entry, pull(source, entry.origin), lambda _: None, 1)
    source.content[entry.sha256] = good
    build.put(entry, pull(source, entry.origin), lambda _: None, 1)  # and the place is free for the right ones
    build.close()
    observed = backend.open().observe(wanted)
    assert observed.held[entry.sha256].size == entry.size
    assert backend.open().releases() == ()


def test_a_failed_put_can_be_repeated_from_another_source(backend: Backend) -> None:
    made, store = small(), backend.open()
    wanted, empty, full = tree(made), MemorySource(name="empty"), MemorySource(made)
    entry = next(entry for entry in wanted.entries if entry.path.endswith("model.safetensors"))
    store.observe(wanted)
    build = store.build(wanted)
    assert entry.origin is not None
    with pytest.raises(NotFound):
        build.put(entry, pull(empty, entry.origin), lambda _: None, 1)
    build.put(entry, pull(full, entry.origin), lambda _: None, 1)
    build.close()


def test_a_closed_build_keeps_what_was_verified(backend: Backend) -> None:
    made, store = small(), backend.open()
    wanted = tree(made)
    store.observe(wanted)
    build = store.build(wanted)
    put_all(build, made)
    build.close()
    observed = backend.open().observe(wanted)
    locked = {entry.sha256 for entry in wanted.entries if entry.origin}
    assert locked <= set(observed.held)
    assert all(observed.held[digest].movable for digest in locked)
    source = MemorySource(made)
    run = transfer(document(made), backend.open(), source)
    assert source.asked == []
    assert run.report.resumed == sum(len(data) for data in made.content.values())
    assert findings(backend.open(), wanted.release_id) == {}
    assert backend.unfinished() == []


def test_a_build_without_anything_leaves_nothing(backend: Backend) -> None:
    store, wanted = backend.open(), tree(small())
    store.observe(wanted)
    store.build(wanted).close()
    assert backend.unfinished() == []


def test_a_part_of_a_file_is_taken_up_again(apart: Backend) -> None:
    backend = apart
    made = make("org/part", {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 4000})
    wanted, source = tree(made), MemorySource(made)
    entry = next(entry for entry in wanted.entries if entry.path.endswith("model.safetensors"))
    whole, half = source.content[entry.sha256], 600_000
    source.content[entry.sha256] = whole[:half]  # ends early, for ever
    with pytest.raises(ProvisionError):
        transfer(document(made), backend.open(), source)
    assert backend.open().observe(wanted).partial == {entry.sha256: half}
    source.content[entry.sha256] = whole
    source.asked.clear()
    run = transfer(document(made), backend.open(), source)
    assert ("model.safetensors", half, len(whole)) in source.asked
    assert run.report.resumed >= half
    assert findings(backend.open(), wanted.release_id) == {}


def test_a_part_that_was_damaged_meanwhile_costs_only_itself(apart: Backend) -> None:
    backend = apart
    made = make("org/part", {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 4000})
    source = MemorySource(made)
    (digest,) = (entry.sha256 for entry in tree(made).entries if entry.path.endswith("model.safetensors"))
    whole = source.content[digest]
    source.content[digest] = b"\xff" * 1000  # wrong from the start, and too short
    with pytest.raises(ProvisionError):
        transfer(document(made), backend.open(), source)
    assert backend.open().observe(tree(made)).partial == {digest: 1000}
    source.content[digest] = whole
    transfer(document(made), backend.open(), source)
    assert findings(backend.open(), tree(made).release_id) == {}


def test_equal_bytes_of_another_release_are_shared(backend: Backend) -> None:
    before = small()
    after = small(tokenizer=b'{"version": "2.0"}')
    first = publish(backend, before)
    observed = backend.open().observe(tree(after))
    work = plan(tree(after), observed)
    assert {a.entries[0].path.name for a in work.actions if isinstance(a, Share)} == {
        "config.json",
        "model.safetensors",
    }
    assert {a.entries[0].path.name for a in work.actions if isinstance(a, Move)} == {"tokenizer.json"}
    source = MemorySource(after)
    run = transfer(document(after), backend.open(), source)
    assert [path for path, _, _ in source.asked] == ["tokenizer.json"]
    assert run.report.shared == len(before.content["config.json"]) + len(before.content["model.safetensors"])
    for release in (first, run.report.release):
        assert findings(backend.open(), release) == {}


def test_a_shared_file_that_is_damaged_is_fetched_again(backend: Backend) -> None:
    before, after = small(), small(tokenizer=b'{"version": "2.0"}')
    first = publish(backend, before)
    size = len(before.content["model.safetensors"])
    backend.overwrite(first, snapshot(before, "model.safetensors"), b"\0" * size)
    run = transfer(document(after), backend.open(), MemorySource(after))
    assert findings(backend.open(), run.report.release) == {}
    assert findings(backend.open(), first) == {snapshot(before, "model.safetensors"): "digest"}
    assert any("model.safetensors" in notice and "source instead" in notice for notice in run.notices)
    assert run.report.moved == size + len(after.content["tokenizer.json"])


def test_a_shared_file_that_is_gone_is_fetched_again(backend: Backend) -> None:
    before, after = small(), small(tokenizer=b'{"version": "2.0"}')
    first = publish(backend, before)
    backend.delete(first, snapshot(before, "model.safetensors"))
    run = transfer(document(after), backend.open(), MemorySource(after))
    assert findings(backend.open(), run.report.release) == {}


def test_one_content_at_many_paths_moves_once(backend: Backend) -> None:
    data = bytes(range(250)) * 100
    made = make("org/twins", {"config.json": b"{}", "a.safetensors": data, "b/c.safetensors": data})
    source = MemorySource(made)
    release = transfer(document(made), backend.open(), source).report.release
    assert [path for path, _, _ in source.asked].count("a.safetensors") == 1
    assert "b/c.safetensors" not in [path for path, _, _ in source.asked]
    assert backend.read(release, snapshot(made, "b/c.safetensors")) == data


def test_repeat_gives_bytes_a_second_path(backend: Backend) -> None:
    data = b"the same"
    made = make("org/twins", {"a.safetensors": data, "b.safetensors": data})
    store, wanted = backend.open(), tree(made)
    store.observe(wanted)
    build = store.build(wanted)
    first, second = (entry for entry in wanted.entries if entry.path.endswith(".safetensors"))
    assert first.origin is not None
    build.put(first, pull(MemorySource(made), first.origin), lambda _: None, 1)
    build.repeat(second, first)
    for entry in wanted.entries:
        if entry.origin is None:
            build.generate(entry)
    assert build.publish(ReleaseRecord(wanted, document(made).digest), document(made).text)
    build.close()
    assert findings(store, wanted.release_id) == {}


def test_a_build_that_is_not_whole_cannot_be_published(backend: Backend) -> None:
    made, store = small(), backend.open()
    wanted, lock = tree(made), document(made)
    store.observe(wanted)
    build = store.build(wanted)
    for entry in wanted.entries:
        if entry.origin is None:
            build.generate(entry)
    with pytest.raises(ProvisionError):
        build.publish(ReleaseRecord(wanted, lock.digest), lock.text)
    build.close()
    assert backend.open().releases() == ()


def test_every_release_is_listed_and_one_is_active(backend: Backend) -> None:
    store = backend.open()
    releases = []
    for number in range(3):
        releases.append(publish(backend, small(tokenizer=b"%d" % number)))
    assert set(store.releases()) == set(releases)
    for release in (releases[0], releases[2], releases[1]):
        store.activate(release)
        assert backend.open().active() == release


def test_removing_a_release_leaves_the_others_whole(backend: Backend) -> None:
    before, after = small(), small(tokenizer=b'{"version": "2.0"}')
    first, second = publish(backend, before), publish(backend, after)
    freed = backend.open().remove(first)
    assert freed == tree(before).size
    assert backend.open().releases() == (second,)
    assert findings(backend.open(), second) == {}
    assert backend.unfinished() == []
    with pytest.raises(NotFound):
        backend.open().remove(first)


def test_a_release_without_its_record_is_damaged_or_none(backend: Backend) -> None:
    release = publish(backend, small())
    backend.delete(release, RECORD_NAME)
    observed = backend.open().observe(tree(small()))
    assert not observed.published
    if backend.in_place:
        assert observed.damage == ()
        assert backend.open().releases() == ()
        assert backend.open().sweep() == (f"releases/{release}",)
    else:
        assert [finding.kind for finding in observed.damage] == ["record"]
        backend.open().remove(release)
    assert backend.open().releases() == ()
    assert backend.unfinished() == []


@pytest.mark.parametrize("record", [b"", b"not json", b'{"format": 99}'])
def test_a_release_with_a_broken_record_is_damaged_and_can_be_removed(backend: Backend, record: bytes) -> None:
    release = publish(backend, small())
    backend.overwrite(release, RECORD_NAME, record)
    observed = backend.open().observe(tree(small()))
    assert not observed.published
    assert [finding.kind for finding in observed.damage] == ["record"]
    backend.open().remove(release)
    assert backend.open().releases() == ()
    assert backend.unfinished() == []


def test_a_damaged_release_is_made_anew_from_its_good_files(backend: Backend) -> None:
    made = small()
    release = publish(backend, made)
    backend.overwrite(release, snapshot(made, "tokenizer.json"), b"short")
    observed = backend.open().observe(tree(made))
    assert [(finding.kind, finding.path) for finding in observed.damage] == [("size", snapshot(made, "tokenizer.json"))]
    source = MemorySource(made)
    transfer(document(made), backend.open(), source, anew=True)
    assert [path for path, _, _ in source.asked] == ["tokenizer.json"]
    assert findings(backend.open(), release) == {}
    assert backend.unfinished() == []


def test_sweep_takes_what_dead_runs_left_and_nothing_else(backend: Backend) -> None:
    made, other = small(), small("org/other", tokenizer=b"else")
    store = backend.open()
    for one in (made, other):
        store.observe(tree(one))
        build = store.build(tree(one))
        put_all(build, one)
        build.close()
    store.observe(tree(made))
    alive = store.build(tree(made))
    assert len(backend.unfinished()) == 3
    swept = store.sweep(tree(other).release_id)
    assert len(swept) == 1
    assert len(backend.unfinished()) == 2
    # What another run left, the one that is alive has made its own in a bucket, and may yet take in a directory.
    mine = 1 if backend.in_place or isinstance(backend, DirectoryBackend) else 0
    assert len(store.sweep()) == 1 - mine
    assert len(backend.unfinished()) == 1 + mine
    put_all(alive, made)
    assert alive.publish(ReleaseRecord(tree(made), document(made).digest), document(made).text)
    alive.close()
    assert findings(store, tree(made).release_id) == {}


@pytest.mark.parametrize(("start", "stop"), [(0, 10_240), (0, 1), (1, 2), (5_000, 10_240), (10_239, 10_240)])
def test_a_store_is_a_source_of_ranges(backend: Backend, start: int, stop: int) -> None:
    made = small()
    publish(backend, made)
    source = backend.open().as_source()
    (entry,) = (entry for entry in tree(made).entries if entry.path.endswith("model.safetensors"))
    assert entry.origin is not None
    assert source.has(entry.origin)
    assert read(source.open(entry.origin, start, stop)) == made.content["model.safetensors"][start:stop]


def test_a_store_does_not_have_what_it_has_not(backend: Backend) -> None:
    made, other = small(), small("org/other", tokenizer=b"else")
    publish(backend, made)
    source = backend.open().as_source()
    (entry,) = (entry for entry in tree(other).entries if entry.path.endswith("tokenizer.json"))
    assert entry.origin is not None
    assert not source.has(entry.origin)
    with pytest.raises(NotFound), source.open(entry.origin, 0, 4):
        pass


def read(opened: object) -> bytes:
    result, buffer = b"", memoryview(bytearray(777))
    with opened as stream:  # type: ignore[attr-defined]
        while count := stream.readinto(buffer):
            result += bytes(buffer[:count])
    return result


def test_a_release_can_be_built_from_another_store(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> None:
    made = small()
    origin = DirectoryBackend(tmp_path_factory.mktemp("origin"))
    publish(origin, made)
    run = transfer(document(made), backend.open(), origin.open().as_source())
    assert run.report.moved == sum(len(data) for data in made.content.values())
    assert findings(backend.open(), run.report.release) == {}


@pytest.mark.parametrize("evidence", list(Evidence))
def test_check_finds_missing_extra_and_size_with_any_evidence(backend: Backend, evidence: Evidence) -> None:
    made = small()
    release = publish(backend, made)
    backend.delete(release, snapshot(made, "config.json"))
    backend.overwrite(release, snapshot(made, "tokenizer.json"), b"longer than it was before")
    backend.overwrite(release, snapshot(made, "more/unlocked.bin"), b"x")
    backend.overwrite(release, "top.txt", b"")
    assert findings(backend.open(), release, evidence) == {
        snapshot(made, "config.json"): "missing",
        snapshot(made, "tokenizer.json"): "size",
        snapshot(made, "more"): "extra",
        "top.txt": "extra",
    }


def test_only_rehashing_finds_a_flipped_bit(backend: Backend) -> None:
    made = small()
    release = publish(backend, made)
    path = snapshot(made, "model.safetensors")
    data = bytearray(backend.read(release, path))
    data[5000] ^= 0x10
    backend.overwrite(release, path, bytes(data))
    assert findings(backend.open(), release, Evidence.REHASHED) == {path: "digest"}
    assert findings(backend.open(), release, Evidence.SIZE_ONLY) == {}
    assert (
        hashlib.sha256(data).hexdigest()
        in next(iter(backend.open().check(backend.open().record(release), Evidence.REHASHED, lambda _: None))).detail
    )


def test_every_byte_is_counted_while_checking(backend: Backend) -> None:
    made = small()
    release = publish(backend, made)
    counted: list[int] = []
    store: Store = backend.open()
    assert list(store.check(store.record(release), Evidence.REHASHED, counted.append)) == []
    assert sum(counted) == tree(made).size


def test_the_lock_and_the_record_are_no_extra_files(backend: Backend) -> None:
    release = publish(backend, small())
    assert backend.read(release, LOCK_NAME) == document(small()).text
    assert findings(backend.open(), release) == {}


def test_an_unknown_digest_is_not_shared(backend: Backend) -> None:
    publish(backend, small())
    wanted = tree(small("org/other", tokenizer=b"else", model=b"w", config=b"{ }"))
    assert backend.open().observe(wanted).held == {}
