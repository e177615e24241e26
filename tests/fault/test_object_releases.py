"""Releases in a bucket that rots, is shared with strangers, and is written and pruned by several at once."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import NotFound, Unavailable, VerificationFailed
from provisioner.model import LockedFile
from provisioner.ops.releases import status, to_prune
from provisioner.ops.verify import verify
from provisioner.ports.events import silent
from provisioner.ports.store import Store
from provisioner.record import LOCK_NAME, RECORD_NAME, ReleaseRecord
from provisioner.report import Evidence
from provisioner.stores import owner
from provisioner.stores.blocks.budget import BUDGET
from tests.contract.test_store import pull, put_all
from tests.support import s3_fault_actions as act
from tests.support.faults_process import REPOSITORY
from tests.support.faulty_store import PART, WEIGHTS, Through, impatient, large, through
from tests.support.hub_fixture import Made, make
from tests.support.locks import MemorySource, document, lock_of, small, snapshot, tree
from tests.support.object_backend import object_backend
from tests.support.seaweed import flip_at_rest
from tests.support.stores import DirectoryBackend, findings, transfer
from tests.unit.test_blocks import Watched

NOISE = random.Random(5).randbytes(60_000)


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Through]:
    impatient(monkeypatch)
    with through() as found:
        yield found


def publish(line: Through, made: Made) -> str:
    return transfer(document(made), line.direct.open(), MemorySource(made)).report.release


# --- bytes that rot ---


def test_a_bit_that_flips_at_rest_is_found_and_never_shared(line: Through) -> None:
    if line.direct.server.data_dir is None:
        pytest.skip("only our own server's files can be reached")
    before, after = small(model=NOISE), small(model=NOISE, tokenizer=b"new")
    first = publish(line, before)
    flip_at_rest(line.direct.server, line.direct.bucket, NOISE[30_000:30_100])
    rotten, store = snapshot(before, WEIGHTS), line.direct.open()
    for evidence, found in ((Evidence.REHASHED, [rotten]), (Evidence.RECORDED, []), (Evidence.SIZE_ONLY, [])):
        report = verify(store, first, lock_of(before), evidence, silent)
        assert [finding.path for finding in report.findings] == found
        assert report.evidence is evidence  # what it says rests on no more than it looked at
    source = MemorySource(after)
    run = transfer(document(after), store, source)
    assert sorted(path for path, _, _ in source.asked) == [WEIGHTS, "tokenizer.json"]
    assert any("source instead" in notice for notice in run.notices)
    assert line.direct.read(run.report.release, snapshot(after, WEIGHTS)) == NOISE
    assert findings(store, run.report.release) == {}


def test_a_damaged_object_comes_from_the_next_source_and_the_report_says_so(line: Through, tmp_path: Path) -> None:
    made, good = large(), MemorySource(large(), name="good")
    release = publish(line, made)
    line.direct.overwrite(release, snapshot(made, WEIGHTS), bytes(len(made.content[WEIGHTS])))
    with object_backend("s3") as other:
        for target in (DirectoryBackend(tmp_path / "store"), other):
            run = transfer(document(made), target.open(), line.direct.open().as_source(), good)
            assert findings(target.open(), release) == {}
            assert target.unfinished() == []
            assert run.report.origins["good"] == (1, len(made.content[WEIGHTS]))
            assert run.report.origins[line.direct.address][0] == 1


def test_a_damaged_file_shared_late_never_replaces_a_good_one(line: Through) -> None:
    """Another run of the same release may have put the right bytes there already, and be about to publish."""
    before, after = small(), small(tokenizer=b"new")
    first = publish(line, before)
    line.direct.overwrite(first, snapshot(before, WEIGHTS), bytes(10_240))
    slow, quick = line.direct.open(), line.direct.open()
    wanted, lock = tree(after), document(after)
    held = slow.observe(wanted).held
    quick.observe(wanted)
    late, early = slow.build(wanted), quick.build(wanted)
    put_all(early, after)
    assert early.publish(ReleaseRecord(wanted, lock.digest), lock.text)
    (entry,) = (entry for entry in wanted.entries if entry.path.endswith(WEIGHTS))
    with pytest.raises(VerificationFailed):
        late.share(entry, held[entry.sha256], lambda _: None)
    assert findings(quick, wanted.release_id) == {}
    early.close()
    late.close()


def test_repair_mends_size_and_content(line: Through) -> None:
    made = small(model=NOISE)
    release = publish(line, made)
    line.direct.overwrite(release, snapshot(made, WEIGHTS), bytes(len(NOISE)))
    line.direct.overwrite(release, snapshot(made, "config.json"), b"short")
    line.direct.overwrite(release, "stranger.txt", b"x")
    with pytest.raises(VerificationFailed, match="damaged"):
        line.direct.open().activate(release)
    with pytest.raises(VerificationFailed, match="damaged"):
        transfer(document(made), line.direct.open(), MemorySource(made))
    source = MemorySource(made)
    transfer(document(made), line.direct.open(), source, anew=True)
    assert {path for path, _, _ in source.asked} == {WEIGHTS, "config.json"}
    line.assert_whole(made)
    line.direct.open().activate(release)
    assert status(line.direct.open(), lock_of(made)).up_to_date


# --- several at once ---


def test_two_runs_of_one_release_at_once_both_end_well(line: Through) -> None:
    made = large()
    failures: list[BaseException] = []

    def mirror(store: Store) -> None:
        try:
            transfer(document(made), store, MemorySource(made))
        except BaseException as error:
            failures.append(error)

    runs = [threading.Thread(target=mirror, args=(line.store.open(),)) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert failures == []
    assert [one.status for one in line.proxy.requests("PUT", RECORD_NAME)].count(200) == 1
    line.assert_whole(made)


class Meanwhile(MemorySource):
    """Does something once, when the weights are asked for."""

    def __init__(self, made: Made, do: Any) -> None:
        super().__init__(made)
        self.do, self.done = do, []

    def open(self, file: LockedFile, start: int, stop: int) -> Any:
        if str(file.file.path) == WEIGHTS and not self.done:
            self.done.append(self.do())
        return super().open(file, start, stop)


def test_a_prune_leaves_a_run_alone(line: Through) -> None:
    made = large()
    publish(line, small())
    source = Meanwhile(made, lambda: line.direct.open().sweep())
    run = transfer(document(made), line.direct.open(), source)
    assert source.done == [()]
    assert findings(line.direct.open(), run.report.release) == {}


@pytest.mark.parametrize("late", [False, True])
def test_a_run_that_was_pruned_away_publishes_nothing_damaged(
    line: Through, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """A prune that takes a living run for dead, while it works and when it is about to publish."""
    made, store = small(), line.direct.open()
    wanted, lock = tree(made), document(made)
    store.observe(wanted)
    build = store.build(wanted)
    put_all(build, made)
    with monkeypatch.context() as impatience:
        impatience.setattr(owner, "STALE_SECONDS", -1e9)
        swept = line.direct.open().sweep()
    assert len(swept) == 2
    if late:
        put_all(build, made)
    with pytest.raises(Unavailable, match="taken for dead"):
        build.publish(ReleaseRecord(wanted, lock.digest), lock.text)
    build.close()
    line.assert_nothing_is_visible()
    transfer(lock, line.direct.open(), MemorySource(made))
    line.assert_whole(made)


def test_a_build_that_lost_a_file_publishes_nothing(line: Through) -> None:
    made, store = small(), line.direct.open()
    wanted, lock = tree(made), document(made)
    store.observe(wanted)
    build = store.build(wanted)
    put_all(build, made)
    line.direct.delete(wanted.release_id, snapshot(made, WEIGHTS))
    with pytest.raises(Unavailable, match="taken from this build"):
        build.publish(ReleaseRecord(wanted, lock.digest), lock.text)
    build.close()
    line.assert_nothing_is_visible()


def test_a_prune_takes_everything_of_a_dead_process(line: Through) -> None:
    made, s3 = large(), line.direct.client
    release = tree(made).release_id
    gone = "from provisioner.stores.owner import identity; print(identity().decode())"
    dead = subprocess.run([sys.executable, "-c", gone], cwd=REPOSITORY, capture_output=True, check=True).stdout
    prefix = line.direct.key(release).removesuffix(f"releases/{release}/")
    s3.put_object(Bucket=line.direct.bucket, Key=f"{prefix}staging/{release}.abc", Body=dead)
    line.direct.overwrite(release, snapshot(made, "config.json"), b"{}")
    s3.create_multipart_upload(Bucket=line.direct.bucket, Key=line.weights(made))
    kept = publish(line, small())
    assert len(line.direct.unfinished()) == 3
    assert len(line.direct.open().sweep()) == 3
    assert line.direct.unfinished() == []
    assert line.direct.open().releases() == (kept,)


def test_many_prunes_at_once_do_not_trip_over_each_other(line: Through) -> None:
    store = line.direct.open()
    store.observe(tree(small()))
    build = store.build(tree(small()))  # somebody to look at
    failures: list[BaseException] = []

    def prune() -> None:
        try:
            for _ in range(3):
                assert store.sweep() == ()
        except BaseException as error:
            failures.append(error)

    prunes = [threading.Thread(target=prune) for _ in range(6)]
    for one in prunes:
        one.start()
    for one in prunes:
        one.join()
    build.close()
    assert failures == []
    assert line.direct.unfinished() == []


def test_prune_keeps_the_active_release(line: Through) -> None:
    releases = [publish(line, small(tokenizer=b"%d" % number)) for number in range(3)]
    store = line.direct.open()
    store.activate(releases[0])
    doomed = to_prune(store, 1)
    assert releases[0] not in doomed
    assert len(doomed) in (1, 2)  # all of one second: which is the newest is the store's own order
    for release in doomed:
        store.remove(release)
    assert set(store.releases()) == set(releases) - set(doomed)


# --- many, large, oddly named ---


def test_a_release_of_more_than_a_page(line: Through) -> None:
    """1,100 files: one listing finds them all, and a second run asks for none of them."""
    made = make("org/many", {f"{number:04}.json": b"%d" % number for number in range(1100)})
    release = publish(line, made)
    assert findings(line.direct.open(), release) == {}
    begin = len(line.proxy.log)
    run = transfer(document(made), line.store.open(), MemorySource())
    assert not run.report.changed
    asked = line.proxy.log[begin:]
    assert len([one for one in asked if "list-type=2" in one.query]) >= 2
    assert len(asked) < 12
    line.direct.delete(release, snapshot(made, "1099.json"))
    assert findings(line.store.open(), release, Evidence.SIZE_ONLY) == {snapshot(made, "1099.json"): "missing"}
    line.direct.open().remove(release)
    assert line.direct.keys() == {}


ODD = {
    "config.json": b"{}",
    "empty.bin": b"",
    "with space/a  b.txt": b"spaces",
    "100%/%41%2f.txt": b"percent",
    "plus+plus/a+b.txt": b"plus",
    "it's/'quoted' `so`.txt": b"quotes",
    "日本語/naïve résumé 🤖.txt": b"unicode",
    "a&b=c;d@e,f$g!(h)[i]{j}^~.txt": b"marks",
    "#hash/#.txt": b"hash",
    "x.json/y.txt": b"a folder like a file",
}


def test_a_round_trip_through_two_buckets_changes_no_byte(line: Through, tmp_path: Path) -> None:
    """Directory -> S3 -> S3 -> directory, odd names and a file that goes by ranges among them."""
    made = make("org/odd", ODD | {WEIGHTS: random.Random(3).randbytes(2**20) * 66})
    ends = [DirectoryBackend(tmp_path / name) for name in ("first", "last")]
    transfer(document(made), ends[0].open(), MemorySource(made))
    with object_backend("s3") as other:
        chain = [ends[0], line.direct, other, replace(other, endpoint=None), ends[1]]
        for source, target in ((chain[0], chain[1]), (chain[1], chain[2]), (chain[2], chain[4])):
            transfer(document(made), target.open(), source.open().as_source(), jobs=8)
            assert target.unfinished() == []
    release = tree(made).release_id
    for path in (*map(str, (entry.path for entry in tree(made).entries)), LOCK_NAME):
        assert ends[0].read(release, path) == ends[1].read(release, path)
    for path, data in ODD.items():
        assert line.direct.read(release, snapshot(made, path)) == data


def test_a_large_file_comes_down_by_ranges(line: Through, tmp_path: Path) -> None:
    made = make("org/large", {WEIGHTS: random.Random(4).randbytes(2**20) * 66})
    publish(line, made)
    target = DirectoryBackend(tmp_path / "store")
    line.fault(act.HoldUntil(lambda: line.proxy.most_at_once > 1), method="GET", key=WEIGHTS)
    transfer(document(made), target.open(), line.store.open().as_source(), jobs=4)
    assert line.proxy.count("GET", WEIGHTS) > 1
    assert line.proxy.most_at_once > 1
    assert findings(target.open(), tree(made).release_id) == {}


def test_many_large_files_at_once_stay_within_the_budget(line: Through) -> None:
    content = {f"{number}.safetensors": bytes([number]) * (3 * PART + number) for number in range(8)}
    made, store = make("org/wide", content), line.store.open()
    budget = Watched(BUDGET)
    store._budget = budget  # type: ignore[attr-defined]
    line.fault(act.HoldUntil(lambda: budget.peak > BUDGET // 2), method="PUT", query="partNumber", times=None)
    transfer(document(made), store, MemorySource(made), jobs=8)
    assert findings(store, tree(made).release_id) == {}
    assert budget.out == 0
    assert BUDGET // 2 < budget.peak <= BUDGET


# --- strangers in the bucket ---


def test_what_others_put_below_a_release_that_is_not_there_yet_is_no_part_of_it(line: Through) -> None:
    made = small()
    release = tree(made).release_id
    line.direct.overwrite(release, "stranger.bin", b"x")
    line.direct.overwrite(release, snapshot(made, "more/of it.bin"), b"y")
    line.direct.overwrite(release, snapshot(made, "config.json"), b"not what was locked")
    line.assert_nothing_is_visible()
    assert publish(line, made) == release
    line.assert_whole(made)
    assert sorted(key for key in list(line.direct.keys()) if "stranger" in key or "more" in key) == []


def test_bytes_of_the_right_size_that_others_put_there_are_read_before_they_count(line: Through) -> None:
    made = small()
    line.direct.overwrite(tree(made).release_id, snapshot(made, WEIGHTS), bytes(10_240))
    run = transfer(document(made), line.direct.open(), MemorySource(made))
    assert run.report.resumed == 0
    line.assert_whole(made)


HOSTILE = ["../escape", "\x1b[2J\x1b]0;owned\x07", "line\nbreak", "..%2f..%2f", "folder//double", "\u202ereversed"]


def test_keys_that_strangers_made_up_do_no_harm(line: Through) -> None:
    made = small()
    release, s3 = publish(line, made), line.direct.client
    put = 0
    for name in HOSTILE:
        for key in (line.direct.key(release, name), line.direct.key(name, RECORD_NAME), line.direct.key("", name)):
            try:
                s3.put_object(Bucket=line.direct.bucket, Key=key, Body=b"{}")
                put += 1
            except s3.exceptions.ClientError:  # a server may refuse some
                continue
    assert put > len(HOSTILE)
    store = line.direct.open()
    assert store.releases() == (release,)
    report = verify(store, release, lock_of(made), Evidence.SIZE_ONLY, silent)
    assert {str(finding.kind) for finding in report.findings} == {"extra"}
    assert all((finding.path + finding.detail).isprintable() for finding in report.findings)
    for mode in (Evidence.RECORDED, Evidence.REHASHED):
        assert {finding.path for finding in store.check(store.record(release), mode, lambda _: None)} == {
            finding.path for finding in report.findings
        }
    store.sweep()
    store.remove(release)
    assert store.releases() == ()


def test_a_record_that_is_another_releases_is_damage(line: Through) -> None:
    made = small()
    release, other = publish(line, made), publish(line, small(tokenizer=b"other"))
    line.direct.overwrite(release, RECORD_NAME, line.direct.read(other, RECORD_NAME))
    assert line.direct.open().observe(tree(made)).damage
    with pytest.raises(VerificationFailed):
        transfer(document(made), line.direct.open(), MemorySource(made))


def test_a_release_that_somebody_else_copied_has_no_recorded_digests(line: Through) -> None:
    """`aws s3 cp`, rclone: the bytes are right, but nothing was recorded, and verify does not pretend."""
    made = small()
    with object_backend("s3") as other:
        release = transfer(document(made), other.open(), MemorySource(made)).report.release
        for key in list(other.keys()):
            path = key.removeprefix(f"releases/{release}/")
            line.direct.client.put_object(
                Bucket=line.direct.bucket, Key=line.direct.key(release, path), Body=other.read(release, path)
            )
    store = line.direct.open()
    assert findings(store, release, Evidence.REHASHED) == {}
    recorded = verify(store, release, lock_of(made), Evidence.RECORDED, silent)
    assert {str(finding.path) for finding in recorded.findings} == {str(entry.path) for entry in tree(made).entries}
    assert all("no sha256" in finding.detail for finding in recorded.findings)
    store.activate(release)
    assert status(store, lock_of(made)).up_to_date
    assert not transfer(document(made), store, MemorySource()).report.changed


def test_a_source_whose_release_goes_away_is_followed_by_the_next(line: Through, tmp_path: Path) -> None:
    made, good = small(), MemorySource(small(), name="good")
    release = publish(line, made)
    source = line.direct.open().as_source()
    (entry,) = (entry for entry in tree(made).entries if entry.path.endswith(WEIGHTS))
    assert entry.origin is not None
    assert source.has(entry.origin)
    line.direct.open().remove(release)
    with pytest.raises(NotFound), pull(source, entry.origin).open(0, 10) as stream:  # type: ignore[arg-type]
        stream.readinto(memoryview(bytearray(10)))
    target = DirectoryBackend(tmp_path / "store")
    assert transfer(document(made), target.open(), source, good).report.origins.keys() == {"good"}


def test_a_share_that_the_source_cannot_give_is_asked_of_no_stranger(line: Through) -> None:
    """A server that answers 500 for one object of an earlier release does not hold a new release up."""
    before, after = small(), small(tokenizer=b"new")
    first = publish(line, before)
    fault = line.fault(
        act.internal_error(), method="GET", key=line.direct.key(first, snapshot(before, WEIGHTS)), times=None
    )
    source = MemorySource(after)
    run = transfer(document(after), line.store.open(), source)
    assert fault.hits
    assert {path for path, _, _ in source.asked} == {WEIGHTS, "tokenizer.json"}
    assert findings(line.direct.open(), run.report.release) == {}
