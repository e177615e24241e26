"""What only a real network mount shows: late errors, leftovers of open files, names without case, fixed modes.

Runs on the mounts that the environment gives; contract/test_real_mounts.py gives them in a guest. The suite that every
store passes, test_store.py, runs on them as well.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from provisioner.errors import InvalidDocument, StoreError, StoreFull
from provisioner.ports.store import Modes
from tests.support.faults import FaultyHub
from tests.support.faults_process import provision, started
from tests.support.filling import BIG, Filling, fill
from tests.support.hub_fixture import make
from tests.support.locks import MemorySource, document, small, snapshot, tree, write
from tests.support.mounts import Volume, mounted_here, read_only
from tests.support.patience import until
from tests.support.real_mounts import SMALL, VARIABLES, given, share
from tests.support.stores import DirectoryBackend, files_below, findings, transfer

SLOW = 600  # seconds; the guest has one processor, and not a quick one


@pytest.fixture(params=given())
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def place(kind: str) -> Iterator[Volume]:
    with share(kind) as made:
        yield made


@pytest.fixture
def backend(place: Volume) -> DirectoryBackend:
    return DirectoryBackend(place.path / "store", hard_links=place.hard_links, chmod=place.chmod)


@pytest.fixture
def tiny(kind: str) -> Iterator[Path]:
    if not os.environ.get(SMALL[kind]):
        pytest.skip(f"{SMALL[kind]} names no mount with 8 MiB of room")
    with share(kind, SMALL) as made:
        yield made.path


def test_two_writers_at_once_both_end_well(backend: DirectoryBackend, tmp_path: Path) -> None:
    many = {f"f{number:02}.json": b"%d" % number * 500 for number in range(20)}
    made = make("org/many", {"config.json": b"{}", "model.safetensors": os.urandom(2 * 2**20), **many})
    origin = DirectoryBackend(tmp_path / "origin")
    transfer(document(made), origin.open(), MemorySource(made))
    arguments = ("mirror", "--lock", write(tmp_path, made), "--to", backend.root, "--from", origin.root)
    each = [started(*arguments, cwd=tmp_path, stderr=tmp_path / f"err-{number}") for number in range(2)]
    with each[0] as first, each[1] as second:
        codes = [process.wait(SLOW) for process in (first, second)]
    assert codes == [0, 0], [path.read_text() for path in tmp_path.glob("err-*")]
    assert backend.open().releases() == (tree(made).release_id,)
    assert backend.open().active() == tree(made).release_id
    assert findings(backend.open(), tree(made).release_id) == {}
    assert backend.unfinished() == []
    assert sorted(path.name for path in backend.root.iterdir()) == ["current", "releases", "staging"]


def test_three_shards_fill_it_together_and_publish_once(backend: DirectoryBackend, tmp_path: Path) -> None:
    made = make("org/many", {"config.json": b"{}", **{f"m{n}.safetensors": os.urandom(2**20 + n) for n in range(6)}})
    with FaultyHub(made, rate=1e6) as hub:
        source = ("--from", "hub", "--endpoint", hub.url)
        arguments = ("mirror", "--lock", write(tmp_path, made), "--to", backend.root, *source)
        each = [
            started(*arguments, "--shard", f"{number}/3", cwd=tmp_path, stderr=tmp_path / f"err-{number}")
            for number in range(3)
        ]
        with each[0] as first, each[1] as second, each[2] as third:
            codes = [process.wait(SLOW) for process in (first, second, third)]
        assert codes == [0, 0, 0], [path.read_text() for path in tmp_path.glob("err-*")]
        assert sorted(request.path for request in hub.requests) == sorted(made.content)
    assert backend.open().active() == tree(made).release_id
    assert findings(backend.open(), tree(made).release_id) == {}
    assert backend.unfinished() == []


def test_a_writer_killed_in_the_middle_is_continued(backend: DirectoryBackend, tmp_path: Path) -> None:
    made = make("org/one", {"config.json": b"{}", "model.safetensors": b"\2" * (8 * 2**20)})
    with FaultyHub(made) as hub:
        go = hub.hold("model.safetensors", 6 * 2**20)
        arguments = ("mirror", "--lock", write(tmp_path, made), "--to", backend.root, "--from", "hub")
        with started(*arguments, "--endpoint", hub.url, cwd=tmp_path) as process:
            until(lambda: process.poll() is not None or written(backend) >= 6 * 2**20, SLOW)
            assert process.poll() is None
        assert backend.open().releases() == ()
        assert len(backend.unfinished()) == 1
        (before,) = (request.start for request in hub.asked("model.safetensors"))
        go.set()
        done = provision(*arguments, "--endpoint", hub.url, cwd=tmp_path, timeout=SLOW)
        assert done.code == 0, done.err
        again = hub.asked("model.safetensors")[-1]
        assert (before, again.start > 2**20) == (0, True)
    assert findings(backend.open(), tree(made).release_id) == {}
    assert backend.unfinished() == []


def written(backend: DirectoryBackend) -> int:
    """Bytes of files that are under way."""
    with suppress(OSError):
        return sum(path.stat().st_size for path in backend.root.glob("staging/*/partial/*"))
    return 0


def test_a_reader_can_verify_and_change_nothing(backend: DirectoryBackend, tmp_path: Path) -> None:
    release = transfer(document(small()), backend.open(), MemorySource(small())).report.release
    backend.open().activate(release)
    before = files_below(backend.root)
    point, lock = tmp_path / "reader", write(tmp_path, small())
    point.mkdir()
    with mounted_here(point, read_only(point, backend.root)):
        done = provision("verify", "--at", point, "--lock", lock, "--json", cwd=tmp_path, timeout=SLOW)
        assert done.code == 0, done.err
        done = provision("releases", "activate", release, "--at", point, cwd=tmp_path, timeout=SLOW)
        assert (done.code, "read-only file system" in done.err) == (8, True), done.err
        reader = DirectoryBackend(point)
        assert not transfer(document(small()), reader.open(), MemorySource()).report.changed
        copy = DirectoryBackend(tmp_path / "copy")
        transfer(document(small()), copy.open(), reader.open().as_source())
        assert findings(copy.open(), release) == {}
    assert files_below(backend.root) == before


def test_a_release_that_is_still_read_goes_later(kind: str, backend: DirectoryBackend) -> None:
    """NFS keeps what is open as `.nfsXXXX` in the folder that was to go; SMB does not let the folder go at all."""
    before, after = small(), small(tokenizer=b'{"version": "2"}')
    first = transfer(document(before), backend.open(), MemorySource(before)).report.release
    second = transfer(document(after), backend.open(), MemorySource(after)).report.release
    with backend.path(first, snapshot(before, "tokenizer.json")).open("rb") as held:
        if kind == "nfs":
            backend.open().remove(first)
            assert any(Path(path).name.startswith(".nfs") for path in files_below(backend.root))
        else:
            with pytest.raises(StoreError, match="could not be removed") as caught:
                backend.open().remove(first)
            assert "no reader has a file of it open" in caught.value.hint
            assert findings(backend.open(), first) == {}
        assert held.read() == before.content["tokenizer.json"]
        assert backend.open().sweep() == ()  # and does not say that it took what is still there
        third = small(tokenizer=b'{"version": "3"}')
        transfer(document(third), backend.open(), MemorySource(third))
    if kind == "smb":
        backend.open().remove(first)
    backend.open().sweep()
    assert backend.unfinished() == []
    for made in (after, third):
        assert findings(backend.open(), tree(made).release_id) == {}
    assert set(backend.open().releases()) == {second, tree(third).release_id}


def hidden(folder: Path) -> list[Path]:
    """The names that NFS gives to deleted files which a process of this machine holds open."""
    return list(folder.glob(".nfs*"))


def test_another_release_becomes_active_while_readers_look(backend: DirectoryBackend) -> None:
    releases = []
    for number in range(2):
        made = small(tokenizer=b"%d" % number)
        releases.append(transfer(document(made), backend.open(), MemorySource(made)).report.release)
    backend.open().activate(releases[0])
    with (backend.root / "current").open() as held:
        done = threading.Timer(0.5, held.close)  # SMB keeps the writer waiting until then
        done.start()
        backend.open().activate(releases[1])
        done.join()
    assert backend.open().active() == releases[1]
    until(lambda: not hidden(backend.root), SLOW)  # NFS deletes what was held open after the close has returned
    assert sorted(path.name for path in backend.root.iterdir()) == ["current", "releases", "staging"]


def test_names_that_differ_in_case_only_never_get_there(kind: str, place: Volume) -> None:
    (place.path / "README").write_bytes(b"upper")
    assert (place.path / "readme").exists() is (kind == "smb")
    with pytest.raises(InvalidDocument, match=r"readme\.md"):
        document(make("org/cases", {"README.md": b"upper", "readme.md": b"lower"}))


def test_modes_are_as_asked_or_as_the_mount_says(kind: str, backend: DirectoryBackend) -> None:
    made = small()
    release = transfer(document(made), backend.open(Modes(0o640, 0o750)), MemorySource(made)).report.release
    top = backend.path(release)
    found = {stat.S_IMODE(path.stat().st_mode) for path in [top, *top.rglob("*")]}
    if kind == "nfs":
        assert found == {0o640, 0o750}
    else:
        assert found == {stat.S_IMODE(backend.root.parent.stat().st_mode)}
        assert not backend.open().observe(tree(BIG)).capabilities.chmod
    assert findings(backend.open(), release) == {}


def test_a_volume_that_fills_up_shows_nothing_and_prune_takes_the_rest(tiny: Path, tmp_path: Path) -> None:
    backend = DirectoryBackend(tiny / "store")
    with pytest.raises(StoreFull) as caught:
        transfer(document(BIG), backend.open(), Filling(tiny))
    assert (caught.value.exit_code, caught.value.retryable) == (8, False)
    assert backend.open().releases() == ()
    assert backend.open().active() is None
    done = provision("releases", "prune", "--keep", 1, "--at", backend.root, cwd=tmp_path, timeout=SLOW)
    assert done.code == 0, done.err
    assert backend.unfinished() == []
    (tiny / "ballast").unlink()
    run = transfer(document(BIG), backend.open(), MemorySource(BIG))
    assert findings(backend.open(), run.report.release) == {}


def test_a_full_volume_ends_with_8_before_the_first_byte(kind: str, tiny: Path, tmp_path: Path) -> None:
    origin = DirectoryBackend(tmp_path / "origin")
    transfer(document(BIG), origin.open(), MemorySource(BIG))
    (tiny / "store").mkdir()
    fill(tiny / "ballast")
    arguments = ("mirror", "--lock", write(tmp_path, BIG), "--to", tiny / "store", "--from", origin.root)
    done = provision(*arguments, cwd=tmp_path, timeout=SLOW)
    assert done.code == 8, done.err
    assert "Traceback" not in done.err
    assert set(files_below(tiny)) <= {"ballast"}, VARIABLES[kind]
