"""Real processes that are killed, stopped, or in each other's way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

import pytest

from provisioner.model import TreeEntry
from provisioner.stores.directory.partial import RANGES, SEGMENT
from tests.support.faults import FaultyHub, Request
from tests.support.faults_process import provision, started
from tests.support.hub_fixture import Made, make
from tests.support.locks import MemorySource, document, snapshot, tree, write
from tests.support.patience import PATIENCE, until
from tests.support.stores import DirectoryBackend, findings, transfer

LARGE = 96 * 2**20  # above the size from which a file goes by ranges
RATE = 80e6  # bytes a second on each connection: a segment takes 0.4 s
DEAD_AGE = 3600.0


@cache
def mixed() -> Made:
    """Small files, a middling one that goes in one piece, and a large one that goes by ranges."""
    few = {f"part-{number:02}.json": b"%d" % number * 5000 for number in range(12)}
    return make(
        "org/mixed",
        {
            "config.json": b"{}",
            "empty.txt": b"",
            "tokenizer.json": b"[]" * 1000,
            "model-00001-of-00002.safetensors": bytes(LARGE),
            "model-00002-of-00002.safetensors": b"\1" * (4 * 2**20),
            **few,
        },
    )


class Staged:
    """What a dead run left behind, as it can be seen from outside."""

    def __init__(self, backend: DirectoryBackend) -> None:
        self.verified: set[str] = set()
        self.segments: set[tuple[str, int]] = set()
        entries = [entry for entry in tree(mixed()).entries if entry.origin and entry.size]
        by_digest = {str(entry.sha256): entry for entry in entries}
        for build in (backend.root / "staging").glob("*"):
            self.verified |= {_name(e) for e in entries if (build / "tree" / e.path).exists()}
            with suppress(FileNotFoundError):  # while it lives it may end a file, or move the build, under our eyes
                for marks in (build / "partial").glob("*" + RANGES):
                    entry = by_digest[marks.name.removesuffix(RANGES)]
                    lines = marks.read_text().split("\n")[:-1]
                    self.segments |= {(_name(entry), int(line)) for line in lines}

    def assert_not_moved_again(self, hub: FaultyHub, since: int) -> None:
        for request in hub.requests[since:]:
            assert request.path not in self.verified, f"{request.path} was verified, and asked for again"
            first, last = request.start // SEGMENT, -(-request.stop // SEGMENT)
            again = {(request.path, index) for index in range(first, last)} & self.segments
            assert not again, f"whole segments of {request.path} were asked for again"


def _name(entry: TreeEntry) -> str:
    assert entry.origin is not None
    return str(entry.origin.file.path)


def assert_nothing_or_all(backend: DirectoryBackend, made: Made) -> bool:
    """Whether the release is there; it is whole then, and the only thing that readers can see."""
    releases = os.listdir(backend.root / "releases") if (backend.root / "releases").exists() else []
    if not releases:
        assert not (backend.root / "current").exists()
        return False
    assert releases == [tree(made).release_id]
    assert findings(backend.open(), releases[0]) == {}
    return True


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_at_any_moment_leaves_no_release_or_a_whole_one(tmp_path: Path, seed: int) -> None:
    """Twelve kills for each seed; what was verified before one is never asked for again after it."""
    chance = random.Random(seed)
    lock, kills, stores, kept = write(tmp_path, mixed()), 0, 0, 0
    while kills < 12:
        stores += 1
        backend = DirectoryBackend(tmp_path / f"store-{stores}")
        with FaultyHub(mixed(), rate=RATE) as hub:
            arguments = ("fetch", "--lock", lock, "--store", backend.root, "--endpoint", hub.url, "--jobs", 2)
            done = False
            while not done and kills < 12:
                staged, since = Staged(backend), len(hub.requests)
                with started(*arguments, cwd=tmp_path) as process:
                    if kept:
                        kills += _kill_somewhere(process, hub, chance)
                    else:
                        kills += _kill_between_segments(process, backend)
                    process.wait()
                staged.assert_not_moved_again(hub, since)
                done = assert_nothing_or_all(backend, mixed())
                kept += bool(Staged(backend).segments)
            staged, since = Staged(backend), len(hub.requests)
            last = provision(*arguments, cwd=tmp_path)
            assert last.code == 0, last.err
            staged.assert_not_moved_again(hub, since)
        assert assert_nothing_or_all(backend, mixed())
        assert backend.open().active() == tree(mixed()).release_id
        _sweep(backend)
        subprocess.run(["rm", "-rf", str(backend.root)], check=True)
    assert kills == 12
    assert kept  # at least one kill came in the middle of a large file


def _kill_somewhere(process: subprocess.Popen[bytes], hub: FaultyHub, chance: random.Random) -> bool:
    """Between the first byte and the rename, wherever the bytes still to come put it; whether it still ran."""
    before, total = hub.sent(), sum(map(len, mixed().content.values()))
    threshold = min(chance.uniform(-0.05, 1.1), 1.0) * (total - before)
    until(lambda: process.poll() is not None or hub.sent() - before >= threshold)
    time.sleep(chance.uniform(0.0, 0.2))
    runs = process.poll() is None
    process.kill()
    return runs


def _kill_between_segments(process: subprocess.Popen[bytes], backend: DirectoryBackend) -> bool:
    """When some ranges of the large file are there and others are not."""
    until(lambda: process.poll() is not None or Staged(backend).segments)
    runs = process.poll() is None
    process.kill()
    return runs


def _sweep(backend: DirectoryBackend) -> None:
    """A run killed before it could say who it was leaves a folder that counts as alive for a while, then goes."""
    for build in (backend.root / "staging").iterdir():
        assert not list(build.glob("tree/**/*.safetensors")), "a dead run's weights were left behind"
        for path in [*build.rglob("*"), build]:
            os.utime(path, (time.time() - DEAD_AGE, time.time() - DEAD_AGE))
    backend.open().sweep()
    assert backend.unfinished() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_130_and_the_next_run_continues(tmp_path: Path, number: signal.Signals) -> None:
    made = make("org/one", {"config.json": b"{}", "model.safetensors": b"\2" * (8 * 2**20)})
    backend, lock = DirectoryBackend(tmp_path / "store"), write(tmp_path, made)
    with FaultyHub(made) as hub:
        go = hub.hold("model.safetensors", 2**20)  # the rest would take days
        arguments = ("fetch", "--lock", str(lock), "--store", str(backend.root), "--endpoint", hub.url)
        with started(*arguments, cwd=tmp_path, stderr=tmp_path / "err") as process:
            until(lambda: written(backend, process) >= 2**20)
            process.send_signal(number)
            assert process.wait(PATIENCE) == 130
        text = (tmp_path / "err").read_text()
        assert "provision: Interrupted.\n  Run the same command again to continue." in text
        assert "Traceback" not in text
        assert not assert_nothing_or_all(backend, made)
        since = len(hub.requests)
        go.set()
        assert provision(*arguments, cwd=tmp_path).code == 0
        assert 0 < hub.sent("model.safetensors", since) <= 7 * 2**20
    assert assert_nothing_or_all(backend, made)
    assert backend.unfinished() == []


def written(backend: DirectoryBackend, process: subprocess.Popen[bytes]) -> int:
    """Bytes of files that are under way, in a build of a process that still runs."""
    assert process.poll() is None
    with suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in backend.root.glob("staging/*/partial/*"))
    return 0


def shared_origin(folder: Path) -> tuple[Made, DirectoryBackend]:
    many = {f"f{number:03}.json": os.urandom(3000) for number in range(80)}
    made = make("org/many", {"config.json": b"{}", "model.safetensors": os.urandom(6 * 2**20), **many})
    origin = DirectoryBackend(folder / "origin")
    transfer(document(made), origin.open(), MemorySource(made))
    return made, origin


@pytest.mark.parametrize("attempt", range(4))
def test_two_mirrors_at_once_both_end_well(tmp_path: Path, attempt: int) -> None:
    made, origin = shared_origin(tmp_path)
    lock, backend = write(tmp_path, made), DirectoryBackend(tmp_path / "store")
    arguments = ("mirror", "--lock", lock, "--to", backend.root, "--from", origin.root)
    with ExitStack() as processes:
        running = []
        for number in range(3 if attempt % 2 else 2):
            one = started(*arguments, cwd=tmp_path, stderr=tmp_path / f"err-{number}")
            running.append(processes.enter_context(one))
            time.sleep(0.05 * attempt * number)
        codes = [process.wait(PATIENCE) for process in running]
    assert codes == [0] * len(codes), [path.read_text() for path in tmp_path.glob("err-*")]
    assert assert_nothing_or_all(backend, made)
    assert backend.unfinished() == []
    assert backend.open().active() == tree(made).release_id
    assert sorted(path.name for path in backend.root.iterdir()) == ["current", "releases", "staging"]


def test_a_mirror_beside_one_that_is_killed_ends_well(tmp_path: Path) -> None:
    made, origin = shared_origin(tmp_path)
    lock, backend = write(tmp_path, made), DirectoryBackend(tmp_path / "store")
    with FaultyHub(made) as hub:
        hub.hold("model.safetensors", 2**19)
        arguments = ("mirror", "--lock", lock, "--to", backend.root, "--from")
        with started(*arguments, "hub", "--endpoint", hub.url, cwd=tmp_path) as slow:
            until(lambda: written(backend, slow) >= 2**19)
            assert provision(*arguments, origin.root, cwd=tmp_path).code == 0
            assert assert_nothing_or_all(backend, made)  # while the slow one still works
    assert assert_nothing_or_all(backend, made)
    assert len(backend.unfinished()) == 1
    done = provision("releases", "prune", "--keep", 1, "--at", backend.root, "--json", cwd=tmp_path)
    assert len(done.json["swept"]) == 1
    assert backend.unfinished() == []


def test_the_slower_of_two_ends_well_too(tmp_path: Path) -> None:
    made, origin = shared_origin(tmp_path)
    lock, backend = write(tmp_path, made), DirectoryBackend(tmp_path / "store")
    with FaultyHub(made) as hub:
        go = hub.hold("model.safetensors", 2**19)
        arguments = ("mirror", "--lock", lock, "--to", backend.root, "--from")
        with started(*arguments, "hub", "--endpoint", hub.url, cwd=tmp_path, stderr=tmp_path / "slow") as slow:
            until(lambda: written(backend, slow) >= 2**19)
            assert provision(*arguments, origin.root, cwd=tmp_path).code == 0
            assert slow.poll() is None
            go.set()
            assert slow.wait(PATIENCE) == 0, (tmp_path / "slow").read_text()
    assert "published this release first" in (tmp_path / "slow").read_text()
    assert assert_nothing_or_all(backend, made)
    assert backend.unfinished() == []


def test_a_large_file_by_ranges_is_whole_however_the_hub_answers(tmp_path: Path) -> None:
    """A Hub that forgets about ranges in the middle: the file comes in one piece then."""
    large = make("org/large", {"config.json": b"{}", "model.safetensors": b"\3" * (72 * 2**20)})

    def whole(request: Request) -> None:
        assert request.data is not None
        request.answer(200, request.data)

    backend, lock = DirectoryBackend(tmp_path / "store"), write(tmp_path, large)
    with FaultyHub(large) as hub:
        hub.fault(r"model\.safetensors", Request.honest, times=1)
        hub.fault(r"model\.safetensors", whole)
        done = provision("fetch", "--lock", lock, "--store", backend.root, "--endpoint", hub.url, cwd=tmp_path)
        assert done.code == 0, done.err
        assert any(request.ranged for request in hub.asked("model.safetensors"))
    assert assert_nothing_or_all(backend, large)
    assert backend.path(tree(large).release_id, snapshot(large, "model.safetensors")).stat().st_size == 72 * 2**20


def test_signed_addresses_that_run_out_are_asked_for_again(tmp_path: Path) -> None:
    """Every signed address works once, and two threads share them."""
    large = make("org/large", {"config.json": b"{}", "model.safetensors": bytes(range(256)) * (160 * 2**12)})
    backend, lock = DirectoryBackend(tmp_path / "store"), write(tmp_path, large)
    with FaultyHub(large) as hub, FaultyHub(large) as storage:
        uses: dict[str, int] = {}

        def sign(request: Request) -> None:
            request.answer(302, location=f"{storage.url}{request.handler.path}?signature={len(hub.requests)}")

        def serve(request: Request) -> None:
            uses[request.handler.path] = uses.get(request.handler.path, 0) + 1
            if uses[request.handler.path] > 1:
                return request.answer(403)
            return request.honest()

        hub.fault(r"model\.safetensors", sign)
        storage.fault(".*", serve)
        arguments = ("fetch", "--jobs", 2, "--lock", lock, "--store", backend.root, "--endpoint", hub.url)
        done = provision(*arguments, cwd=tmp_path, HF_TOKEN="hf_secret")
        assert done.code == 0, done.err
        assert all("authorization" not in request.headers for request in storage.requests)
        assert max(uses.values()) > 1
    assert assert_nothing_or_all(backend, large)
