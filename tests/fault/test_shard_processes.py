"""Several processes that fill one store together, while some of them are killed, late, lost or damaged."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from provisioner.errors import ProvisionError, StoreError, Unavailable
from provisioner.model import Layout, LockedFile
from provisioner.ops import waiting
from provisioner.ops.execute import Settings
from provisioner.ops.shards import Together, transfer_together
from provisioner.ops.waiting import await_others
from provisioner.plan.shards import Shard, split
from provisioner.ports.events import Event, silent
from provisioner.ports.source import Stream
from tests.support.faults import FaultyHub
from tests.support.faults_process import Done, provision, start
from tests.support.hub_fixture import Made, make
from tests.support.locks import MemorySource, document, small, tree, with_layouts, write
from tests.support.mounts import volume
from tests.support.patience import PATIENCE, until
from tests.support.stores import QUICK, DirectoryBackend, findings, transfer

COUNT = 3
PART = 1_000_000  # bytes, about, of each of nine files
FOR_EVER = 3600  # seconds that number 0 waits where it is not to give up


@cache
def made() -> Made:
    weights = {f"model-{number}.safetensors": bytes([number]) * (PART + number) for number in range(9)}
    return make("org/many", {"config.json": b"{}", "tokenizer.json": b"[]", **weights})


def files_of(index: int) -> set[str]:
    digests = split(tree(made()), COUNT)[index].digests
    return {str(entry.origin.file.path) for entry in tree(made()).entries if entry.origin and entry.sha256 in digests}


@dataclass
class Pods:
    """The processes of one Job on one store."""

    folder: Path
    backend: DirectoryBackend
    hub: FaultyHub
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lock = write(self.folder, made())  # once: those that run read it

    def _arguments(self, index: int, patience: int) -> tuple[object, ...]:
        source = ("--from", "hub", "--endpoint", self.hub.url)
        shard = ("--shard", f"{index}/{COUNT}", "--shard-patience", patience)
        return ("mirror", "--lock", self.lock, "--to", self.backend.root, *source, *shard)

    def run(self, index: int, *more: object, patience: int = FOR_EVER) -> Done:
        return provision(*self._arguments(index, patience), *more, cwd=self.folder)

    def start(self, index: int, patience: int = FOR_EVER) -> subprocess.Popen[bytes]:
        log = self.folder / f"err-{index}-{len(self.running)}"
        self.running.append(start(*self._arguments(index, patience), cwd=self.folder, stderr=log))
        return self.running[-1]

    def built(self) -> set[str]:
        """The names of the files that some build holds, verified."""
        with suppress(FileNotFoundError):  # a build that goes away
            return {path.name for path in self.backend.root.glob("staging/*/tree/**/*") if path.is_file()}
        return set()

    def said(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("err-*")))

    def asked(self) -> list[str]:
        return sorted(request.path for request in self.hub.requests)

    def assert_published(self) -> None:
        """One release, whole to the last byte, active; and nothing beside it."""
        release = tree(made()).release_id
        assert os.listdir(self.backend.root / "releases") == [release]
        assert findings(self.backend.open(), release) == {}
        assert self.backend.open().active() == release
        assert self.backend.unfinished() == []

    def age_probes(self) -> None:
        """One killed as it tried the store leaves a folder that says nobody's name: it goes when it is old."""
        for probe in self.backend.root.glob("staging/probe.*"):
            os.utime(probe, (0, 0))
        self.backend.open().sweep()

    def assert_not_published(self) -> None:
        assert self.backend.open().releases() == ()
        assert self.backend.open().active() is None


@contextmanager
def job(folder: Path, root: Path, rate: float | None = None) -> Iterator[Pods]:
    with FaultyHub(made(), rate=rate) as hub:
        pods = Pods(folder, DirectoryBackend(root), hub)
        try:
            yield pods
        finally:
            for process in pods.running:
                process.kill()
                process.wait()


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    with job(tmp_path, tmp_path / "store") as made_for_it:
        yield made_for_it


@pytest.mark.parametrize("kind", ["local", "exfat"])
def test_three_at_once_bring_every_file_once_and_publish_once(tmp_path: Path, kind: str) -> None:
    with volume(kind, tmp_path) as place, job(tmp_path, place.path / "store", rate=4e6) as pods:
        codes = [process.wait(PATIENCE) for process in [pods.start(index) for index in range(COUNT)]]
        assert codes == [0] * COUNT, pods.said()
        assert pods.asked() == sorted(made().content)
        pods.assert_published()


def test_the_others_publish_nothing_and_say_what_they_did(pods: Pods) -> None:
    for index in (2, 1):
        done = pods.run(index, "--json")
        assert (done.code, done.json["changed"], done.json["active"]) == (0, False, False), done.err
        assert done.json["shard"]["index"] == index
        assert done.json["files"] == len(files_of(index))
        assert done.json["moved"] == sum(len(made().content[name]) for name in files_of(index))
        pods.assert_not_published()
    assert pods.asked() == sorted(files_of(1) | files_of(2))
    again = pods.run(1, "--json")  # as when its pod is started once more
    assert (again.code, again.json["moved"], again.json["files"]) == (0, 0, len(files_of(1)))
    done = pods.run(0, "--json")
    assert done.json["moved"] + done.json["resumed"] == sum(map(len, made().content.values()))
    assert done.json["moved"] == sum(len(made().content[name]) for name in files_of(0))
    assert done.json["shard"]["taken_over"] == 0
    assert pods.asked() == sorted(made().content)
    pods.assert_published()
    late = pods.run(2, "--json")
    assert (late.code, late.json["changed"], late.json["shard"]["was_there"]) == (0, False, True)


def test_a_lost_shard_is_taken_over(pods: Pods) -> None:
    """Its pod was never started, or its node is gone: number 0 does not wait for ever."""
    assert pods.run(1).code == 0
    done = pods.run(0, "--json", patience=1)
    assert done.code == 0, done.err
    assert any("Nothing has come for 1 s" in event.get("message", "") for event in done.events)
    assert done.json["shard"]["taken_over"] == sum(len(made().content[name]) for name in files_of(2))
    assert pods.asked() == sorted(made().content)
    pods.assert_published()


def test_a_slow_shard_is_waited_for(pods: Pods) -> None:
    assert pods.run(1).code == 0
    holds = [pods.hub.hold(name, PART // 2) for name in files_of(2)]
    slow = pods.start(2)
    until(lambda: all(pods.hub.asked(name) for name in files_of(2)))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(pods.run, 0, "--json")
        try:
            until(lambda: first.done() or files_of(0) <= pods.built())
            assert not first.done(), "it has its own part, and must wait now"
            pods.assert_not_published()
        finally:
            for go in holds:
                go.set()
        done = first.result()
    assert (done.code, slow.wait(PATIENCE)) == (0, 0), done.err
    assert done.json["shard"]["taken_over"] == 0
    assert done.json["shard"]["waited"] > 0
    assert pods.asked() == sorted(made().content)
    pods.assert_published()


def test_a_shard_that_ends_after_the_release_leaves_nothing_behind(pods: Pods) -> None:
    assert pods.run(1).code == 0
    holds = [pods.hub.hold(name, PART // 2, times=1) for name in files_of(2)]  # number 0 gets them at once
    slow = pods.start(2)
    until(lambda: all(pods.hub.asked(name) for name in files_of(2)))
    slow.send_signal(signal.SIGSTOP)  # nothing comes any more
    assert pods.run(0, patience=1).code == 0
    release = tree(made()).release_id
    assert findings(pods.backend.open(), release) == {}
    slow.send_signal(signal.SIGCONT)
    for go in holds:
        go.set()
    assert slow.wait(PATIENCE) == 0, pods.said()
    pods.assert_published()


def test_what_happened_to_a_finished_part_is_noticed(pods: Pods) -> None:
    for index in (1, 2):
        assert pods.run(index).code == 0
    victim = sorted(files_of(1) - {"config.json", "tokenizer.json"})[0]
    (path,) = pods.backend.root.glob(f"staging/*/tree/**/{victim}")
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    done = pods.run(0, "--json")
    assert done.code == 0, done.err
    assert any("does not have the locked content" in event.get("message", "") for event in done.events)
    assert pods.asked() == sorted([*made().content, victim])
    assert done.json["shard"]["taken_over"] == len(made().content[victim])
    pods.assert_published()


def test_a_finished_part_that_lost_a_file_is_completed(pods: Pods) -> None:
    for index in (1, 2):
        assert pods.run(index).code == 0
    (path,) = pods.backend.root.glob("staging/*/tree/**/config.json")
    path.unlink()
    assert pods.run(0, patience=1).code == 0
    assert pods.asked() == sorted([*made().content, "config.json"])
    pods.assert_published()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_shards_killed_at_any_moment_are_continued(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with job(tmp_path, tmp_path / "store", rate=1.5e6) as pods:
        running = {index: pods.start(index, patience=8) for index in range(COUNT)}
        for _ in range(4):
            time.sleep(chance.uniform(0.1, 1.2))
            index = chance.choice(sorted(running))
            running[index].kill()
            running[index].wait()
            if pods.backend.open().releases():
                assert findings(pods.backend.open(), tree(made()).release_id) == {}
            running[index] = pods.start(index, patience=8)
        codes = [process.wait(PATIENCE) for process in running.values()]
        assert codes == [0] * COUNT, pods.said()
        assert pods.run(0).code == 0
        release = tree(made()).release_id
        assert findings(pods.backend.open(), release) == {}
        assert pods.backend.open().active() == release


def test_number_0_killed_while_it_waits_takes_up_its_own_part_and_the_others(pods: Pods) -> None:
    first = pods.start(0)
    until(lambda: files_of(0) <= pods.built())
    assert first.poll() is None
    first.kill()
    first.wait()
    pods.assert_not_published()
    for index in (2, 1):
        assert pods.run(index).code == 0
    assert pods.run(0).code == 0
    assert pods.asked() == sorted(made().content)
    pods.age_probes()
    pods.assert_published()


def test_two_number_0_both_end_well(pods: Pods) -> None:
    """A node that was thought lost and comes back, while its pod was started elsewhere."""
    both = [pods.start(0), pods.start(0)]
    for index in (1, 2):
        assert pods.run(index).code == 0
    assert [process.wait(PATIENCE) for process in both] == [0, 0], pods.said()
    pods.assert_published()


def test_a_prune_leaves_finished_parts_alone_while_somebody_waits_for_them(pods: Pods) -> None:
    assert pods.run(1).code == 0
    first = pods.start(0)
    until(lambda: all(pods.hub.asked(name) for name in files_of(0)))
    prune = ("releases", "prune", "--keep", 1, "--at", pods.backend.root, "--json")
    assert provision(*prune, cwd=pods.folder).json["swept"] == []
    assert pods.run(2).code == 0
    assert first.wait(PATIENCE) == 0, pods.said()
    assert pods.asked() == sorted(made().content)
    pods.assert_published()


def test_a_prune_takes_the_parts_of_a_job_that_is_gone(pods: Pods) -> None:
    for index in (1, 2):
        assert pods.run(index).code == 0
    done = provision("releases", "prune", "--keep", 1, "--at", pods.backend.root, "--json", cwd=pods.folder)
    assert len(done.json["swept"]) == 2
    assert pods.backend.unfinished() == []


def test_a_shard_that_does_not_fit_says_so_before_the_first_byte(tmp_path: Path, mounted: Callable[..., Path]) -> None:
    """Its own part would; the whole does not, and then nobody need begin."""
    with job(tmp_path, mounted(size="5m") / "store") as pods:
        done = pods.run(1, "--json")
        assert (done.code, json.loads(done.err.splitlines()[-1])["exit_code"]) == (8, 8)
        assert pods.hub.requests == []


# How long number 0 waits, by a clock that moves only when it sleeps


class Slow(MemorySource):
    """Gives a piece of a file each time it is let, to one thread."""

    PIECE = PART // 10

    def __init__(self, *of: Made) -> None:
        super().__init__(*of)
        self.tick, self.wanted, self.given = threading.Semaphore(0), 0, 0

    @contextmanager
    def open(self, file: LockedFile, start: int, stop: int) -> Iterator[_Pieces]:  # type: ignore[override]
        with super().open(file, start, stop) as stream:
            yield _Pieces(self, stream)

    def let(self, thread: threading.Thread) -> None:
        """One piece more, and until it is written."""
        self.given += 1
        self.tick.release()
        until(lambda: self.wanted > self.given or not thread.is_alive())


@dataclass
class _Pieces:
    source: Slow
    stream: Stream

    def readinto(self, buffer: memoryview, /) -> int:
        self.source.wanted += 1  # what was given before is written by now
        assert self.source.tick.acquire(timeout=PATIENCE)
        return self.stream.readinto(buffer[: Slow.PIECE])


@dataclass
class Clock:
    """Stands in for `time`; something happens whenever somebody sleeps.

    Attributes:
        meanwhile: what happens; whether that was anything.
        patience: seconds of sleep in which nothing happens, of which there may not be more.
    """

    meanwhile: Callable[[], bool]
    now: float
    patience: float
    last: float = field(init=False)

    def __post_init__(self) -> None:
        self.last = self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.meanwhile():
            self.last = self.now
        assert self.now - self.last <= self.patience, "nothing comes, and it still waits"


def test_the_others_are_waited_for_as_long_as_bytes_come_and_then_for_the_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes within a file count, and it does not matter how long all of it takes."""
    backend, source, events = DirectoryBackend(tmp_path / "store"), Slow(made()), list[Event]()
    how = Together(Shard(1, 2), lambda: (source,), Settings(1, QUICK), silent, "mirror", 0.0)
    other = threading.Thread(target=transfer_together, args=(document(made()), backend.open(), how), daemon=True)
    other.start()
    until(lambda: source.wanted)
    begin = 1000.0

    def meanwhile() -> bool:
        if not other.is_alive():
            return False
        source.let(other)
        return True

    clock = Clock(meanwhile, begin, 3.0 + 2 * waiting.LOOK_SECONDS)
    monkeypatch.setattr(waiting, "time", clock)
    await_others(backend.open(), tree(made()), 3.0, events.append)
    other.join(PATIENCE)
    assert clock.last - begin > 10, "longer than the patience"
    assert 3.0 <= clock.now - clock.last <= 3.0 + waiting.LOOK_SECONDS
    assert "Nothing has come for 3 s" in str(events[-1])


# A server that is away for a moment


@dataclass
class Server:
    """The file server of a store: so many of the next looks into `staging/` fail."""

    failing: int
    number: int
    looks: int = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.listdir

        def listdir(path: str = ".") -> list[str]:
            if str(path).endswith("/staging"):
                self.looks += 1
                if self.looks <= self.failing:
                    raise OSError(self.number, os.strerror(self.number), path)
            return real(path)

        monkeypatch.setattr(os, "listdir", listdir)


@pytest.fixture
def waited_for(tmp_path: Path) -> DirectoryBackend:
    """A store that holds every byte of `WANTED`, which is not published."""
    backend = DirectoryBackend(tmp_path / "store")
    transfer(document(small()), backend.open(), MemorySource(small()))
    return backend


WANTED = tree(with_layouts(small(), Layout.FLAT))


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO])
def test_a_look_that_fails_is_repeated(
    waited_for: DirectoryBackend, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    server, events = Server(3, number), list[Event]()
    server.install(monkeypatch)
    await_others(waited_for.open(), WANTED, 60, events.append)
    assert server.looks == 4
    (notice,) = events
    assert os.strerror(number) in str(notice)


@pytest.mark.parametrize(
    ("number", "kind", "code"), [(errno.ESTALE, Unavailable, 5), (errno.EIO, StoreError, 8)], ids=["ESTALE", "EIO"]
)
def test_a_server_that_stays_away_ends_the_wait(
    waited_for: DirectoryBackend,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[ProvisionError],
    code: int,
) -> None:
    server = Server(10**9, number)
    server.install(monkeypatch)
    with pytest.raises(kind, match=os.strerror(number)) as caught:
        await_others(waited_for.open(), WANTED, 0.3, lambda _: None)
    assert (caught.value.exit_code, server.looks > 1) == (code, True)


def test_what_will_not_pass_ends_the_wait_at_once(
    waited_for: DirectoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(10**9, errno.EROFS)
    server.install(monkeypatch)
    with pytest.raises(StoreError, match="read-only file system"):
        await_others(waited_for.open(), WANTED, 60, lambda _: None)
    assert server.looks == 1
