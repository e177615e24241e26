"""File systems that are full, read-only or somebody else's; modes, links and damage in a directory store."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.errors import NotFound, StoreError, StoreFull
from provisioner.model import Layout, LockedFile
from provisioner.ops.releases import status
from provisioner.ops.transfer import is_damaged
from provisioner.ports.source import Stream
from provisioner.ports.store import Modes
from provisioner.report import Evidence
from tests.support.faults_process import SOMEBODY, Weak, weak
from tests.support.hub_fixture import make
from tests.support.locks import MemorySource, document, lock_of, small, snapshot, tree, write
from tests.support.mounts import tmpfs, unmount
from tests.support.stores import DirectoryBackend, files_below, findings, transfer

Mount = Callable[..., Path]
BIG = make("org/big", {"config.json": b"{}", "model.safetensors": bytes(3 * 2**20), "tokenizer.json": b"[]"})


@pytest.fixture
def backend(tmp_path: Path) -> DirectoryBackend:
    return DirectoryBackend(tmp_path / "store")


def published(root: Path) -> list[str]:
    return sorted(os.listdir(root / "releases")) if (root / "releases").exists() else []


# Full


def test_no_room_is_noticed_before_the_first_byte(mounted: Mount) -> None:
    backend, source = DirectoryBackend(mounted(size="2m") / "store"), MemorySource(BIG)
    with pytest.raises(StoreFull, match=r"(\d+) are missing") as caught:
        transfer(document(BIG), backend.open(), source)
    free = os.statvfs(backend.root.parent)
    wanted = sum(len(data) for data in BIG.content.values())
    assert caught.value.missing is not None
    assert abs(caught.value.missing - (wanted - free.f_bavail * free.f_frsize)) < 64 * 1024
    assert str(caught.value.missing) in str(caught.value)
    assert caught.value.exit_code == 8
    assert not caught.value.retryable
    assert source.asked == []
    assert published(backend.root) == []
    assert backend.unfinished() == []


class Filling(MemorySource):
    """A source during whose first large file somebody else fills the file system."""

    def __init__(self, root: Path) -> None:
        super().__init__(BIG)
        self._root = root

    def open(self, file: LockedFile, start: int, stop: int) -> Iterator[Stream]:  # type: ignore[override]
        if file.file.size > 2**20 and not (self._root / "ballast").exists():
            with (self._root / "ballast").open("wb") as ballast:
                ballast.write(bytes(7 * 2**20))
        return super().open(file, start, stop)  # type: ignore[return-value]


def test_a_volume_that_fills_up_meanwhile_stops_it_and_keeps_what_came(mounted: Mount) -> None:
    root = mounted(size="8m")
    backend = DirectoryBackend(root / "store")
    with pytest.raises(StoreFull, match="No space is left") as caught:
        transfer(document(BIG), backend.open(), Filling(root))
    assert caught.value.exit_code == 8
    assert "run again" in caught.value.hint
    assert caught.value.missing is not None
    assert 0 < caught.value.missing <= tree(BIG).size
    assert f"{caught.value.missing} bytes are missing" in str(caught.value)
    assert published(backend.root) == []
    (root / "ballast").unlink()
    run = transfer(document(BIG), backend.open(), MemorySource(BIG))
    assert run.report.resumed > 0
    assert findings(backend.open(), tree(BIG).release_id) == {}
    assert backend.unfinished() == []


def test_no_inodes_are_no_space_either(mounted: Mount) -> None:
    many = make("org/many", {"config.json": b"{}", **{f"f{n}.txt": b"%d" % n for n in range(60)}})
    backend = DirectoryBackend(mounted(size="8m", nr_inodes="40") / "store")
    with pytest.raises(StoreFull) as caught:
        transfer(document(many), backend.open(), MemorySource(many))
    assert caught.value.exit_code == 8
    assert published(backend.root) == []


def test_a_build_that_cannot_begin_leaves_nothing(mounted: Mount) -> None:
    deep = make("org/deep", {"a/" * 30 + "f.txt": b"deep", "config.json": b"{}"})
    backend = DirectoryBackend(mounted(size="8m", nr_inodes="20") / "store")
    with pytest.raises(StoreFull):
        transfer(document(deep), backend.open(), MemorySource(deep))
    assert backend.unfinished() == []
    assert published(backend.root) == []


# Not writable


def test_a_read_only_volume_is_named_as_such(mounted: Mount) -> None:
    root = mounted(size="8m")
    transfer(document(small()), DirectoryBackend(root / "store").open(), MemorySource(small()))
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
    backend, source = DirectoryBackend(root / "store"), MemorySource(BIG)
    with pytest.raises(StoreError, match="read-only file system") as caught:
        transfer(document(BIG), backend.open(), source)
    assert (caught.value.exit_code, caught.value.retryable) == (8, False)
    assert source.asked == []
    assert published(backend.root) == [tree(small()).release_id]
    # A release that is there needs no write: a reader's mount can be checked and used.
    run = transfer(document(small()), backend.open(), source)
    assert not run.report.changed
    assert findings(backend.open(), tree(small()).release_id) == {}
    assert status(backend.open(), lock_of(small())).present


@pytest.fixture
def other() -> Weak:
    """Somebody who is not the owner of the files."""
    if reason := weak().reason:
        pytest.skip(reason)
    return weak()


def give_away(root: Path) -> None:
    """All of it to a third uid."""
    for path in [root, *root.rglob("*")]:
        os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)


def test_a_folder_of_another_uid_is_no_store(open_folder: Path, other: Weak) -> None:
    lock = write(open_folder, small())
    (open_folder / "store").mkdir(mode=0o755)
    give_away(open_folder / "store")
    done = other.provision("fetch", "--lock", lock, "--store", open_folder / "store", cwd=open_folder)
    assert done.code == 8
    assert f"not accessible to uid {other.uid}" in done.err
    assert "fsGroup" in done.err
    assert "Traceback" not in done.err
    assert files_below(open_folder / "store") == {}


def test_files_that_this_uid_cannot_read_are_found(open_folder: Path, other: Weak) -> None:
    backend = DirectoryBackend(open_folder / "store")
    release = transfer(document(small()), backend.open(), MemorySource(small())).report.release
    backend.path(release, snapshot(small(), "config.json")).chmod(0o600)
    give_away(backend.root)
    for mode in ("full", "size"):
        arguments = ("verify", "--at", backend.root, "--release", release, "--json", "--mode", mode)
        done = other.provision(*arguments, cwd=open_folder)
        found = {finding["path"]: finding["kind"] for finding in done.json["findings"]}
        # The size of a file can be seen without reading it: that is what size-only means.
        assert found == ({snapshot(small(), "config.json"): "unreadable"} if mode == "full" else {})
        assert done.code == (3 if mode == "full" else 0)


def test_a_folder_that_this_uid_cannot_enter_is_found(open_folder: Path, other: Weak) -> None:
    backend = DirectoryBackend(open_folder / "store")
    release = transfer(document(small()), backend.open(), MemorySource(small())).report.release
    snapshots = "hub/models--org--small/snapshots"
    backend.path(release, snapshots).chmod(0o700)
    give_away(backend.root)
    done = other.provision("verify", "--at", backend.root, "--release", release, "--json", cwd=open_folder)
    found = {finding["path"]: finding["kind"] for finding in done.json["findings"]}
    for name in small().content:
        assert found[snapshot(small(), name)] == "unreadable"
    assert done.code == 3


def test_what_cannot_be_read_in_an_earlier_release_is_fetched(open_folder: Path, other: Weak) -> None:
    before, after = small(), small(tokenizer=b'{"version": "2"}')
    backend = DirectoryBackend(open_folder / "store")
    first = transfer(document(before), backend.open(), MemorySource(before)).report.release
    origin = DirectoryBackend(open_folder / "origin")
    transfer(document(after), origin.open(), MemorySource(after))
    backend.path(first, snapshot(before, "model.safetensors")).chmod(0o600)
    for place, folders, _ in os.walk(backend.root):
        for folder in [place, *(os.path.join(place, name) for name in folders)]:
            os.chmod(folder, 0o777)
    give_away(backend.root)
    lock = write(open_folder, after)
    arguments = ("mirror", "--lock", lock, "--to", backend.root, "--from", origin.root)
    done = other.provision(*arguments, cwd=open_folder)
    assert (done.code, "source instead" in done.err) == (0, True), done.err
    assert findings(backend.open(), tree(after).release_id) == {}


# Wrong types


@pytest.mark.parametrize("kind", ["link to the right bytes", "dangling link", "folder", "pipe", "socket"])
def test_what_is_no_regular_file_is_found(backend: DirectoryBackend, tmp_path: Path, kind: str) -> None:
    release = transfer(document(small()), backend.open(), MemorySource(small())).report.release
    path = backend.path(release, snapshot(small(), "config.json"))
    content = path.read_bytes()
    path.unlink()
    if kind == "link to the right bytes":
        (tmp_path / "target").write_bytes(content)
        path.symlink_to(tmp_path / "target")
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        os.mknod(path, stat.S_IFSOCK | 0o644)
    for evidence in Evidence:
        assert findings(backend.open(), release, evidence) == {snapshot(small(), "config.json"): "wrong-type"}
    assert [finding.kind for finding in backend.open().observe(tree(small())).damage] == ["wrong-type"]


def test_a_file_where_a_folder_belongs_is_found(backend: DirectoryBackend) -> None:
    made = make("org/model", {"config.json": b"{}", "1_Pooling/config.json": b"[]"})
    release = transfer(document(made), backend.open(), MemorySource(made)).report.release
    backend.delete(release, snapshot(made, "1_Pooling/config.json"))
    folder = backend.path(release, snapshot(made, "1_Pooling"))
    folder.rmdir()
    folder.write_bytes(b"")
    assert findings(backend.open(), release) == {
        snapshot(made, "1_Pooling"): "wrong-type",
        snapshot(made, "1_Pooling/config.json"): "missing",
    }


def test_links_are_not_followed_when_bytes_are_shared(backend: DirectoryBackend, tmp_path: Path) -> None:
    before, after = small(), small(tokenizer=b'{"version": "2"}')
    first = transfer(document(before), backend.open(), MemorySource(before)).report.release
    path = backend.path(first, snapshot(before, "model.safetensors"))
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    run = transfer(document(after), backend.open(), MemorySource(after))
    target = backend.path(run.report.release, snapshot(after, "model.safetensors"))
    assert not target.is_symlink()
    assert target.stat().st_nlink == 1
    assert any("source instead" in notice for notice in run.notices)
    assert findings(backend.open(), run.report.release) == {}


def test_a_name_that_leads_nowhere_hides_no_release(backend: DirectoryBackend) -> None:
    release = transfer(document(small()), backend.open(), MemorySource(small())).report.release
    (backend.root / "releases" / ("0" * 12)).symlink_to("nowhere")  # as if it went between listing and looking
    assert backend.open().releases() == (release,)


@pytest.mark.parametrize("content", [b"", b"../../etc", b"\xff\xfe", b"0" * 5000, b"main\n"])
def test_a_current_that_names_no_release_is_no_active_release(backend: DirectoryBackend, content: bytes) -> None:
    transfer(document(small()), backend.open(), MemorySource(small()))
    (backend.root / "current").write_bytes(content)
    if len(content) > 4096:
        with pytest.raises(StoreError):
            backend.open().active()
    else:
        assert backend.open().active() is None


# Modes


def modes(backend: DirectoryBackend, release: str) -> set[tuple[str, int]]:
    top = backend.path(release)
    return {
        ("folder" if path.is_dir() else "file", stat.S_IMODE(path.lstat().st_mode)) for path in [top, *top.rglob("*")]
    }


@pytest.fixture
def tight_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("tight_umask")
def test_the_umask_does_not_decide(tmp_path: Path) -> None:
    backend = DirectoryBackend(tmp_path / "store")
    store = backend.open()
    release = transfer(document(BIG), store, MemorySource(BIG)).report.release
    store.activate(release)
    assert modes(backend, release) == {("file", 0o644), ("folder", 0o755)}
    for path in (backend.root, backend.root / "releases"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755, path
    assert stat.S_IMODE((backend.root / "current").stat().st_mode) == 0o644


def test_a_folder_that_is_there_keeps_its_mode(backend: DirectoryBackend) -> None:
    backend.root.mkdir()
    backend.root.chmod(0o750)
    transfer(document(small()), backend.open(), MemorySource(small()))
    assert stat.S_IMODE(backend.root.stat().st_mode) == 0o750


def test_modes_can_be_chosen(backend: DirectoryBackend) -> None:
    store = backend.open(Modes(0o600, 0o700))
    release = transfer(document(small()), store, MemorySource(small())).report.release
    assert modes(backend, release) == {("file", 0o600), ("folder", 0o700)}


def test_every_layout_gets_its_modes(backend: DirectoryBackend) -> None:
    made = make("org/all", small().content, layouts=tuple(Layout))
    store = backend.open(Modes(0o640, 0o2750))
    release = transfer(document(made), store, MemorySource(made)).report.release
    assert modes(backend, release) == {("file", 0o640), ("folder", 0o2750)}


# Links


def inode(backend: DirectoryBackend, release: str, path: str) -> int:
    return backend.path(release, path).stat().st_ino


def test_a_second_release_shares_the_inodes_of_the_first(backend: DirectoryBackend) -> None:
    before, after = small(), small(tokenizer=b'{"version": "2"}')
    first = transfer(document(before), backend.open(), MemorySource(before)).report.release
    second = transfer(document(after), backend.open(), MemorySource(after)).report.release
    for name, same in (("config.json", True), ("model.safetensors", True), ("tokenizer.json", False)):
        old = inode(backend, first, snapshot(before, name))
        assert (old == inode(backend, second, snapshot(after, name))) is same


def test_layouts_of_one_release_share_their_inodes(backend: DirectoryBackend) -> None:
    made = make("org/two", small().content, layouts=(Layout.HUB, Layout.FLAT))
    release = transfer(document(made), backend.open(), MemorySource(made)).report.release
    flat = inode(backend, release, "models/two/model.safetensors")
    assert flat == inode(backend, release, snapshot(made, "model.safetensors"))


def test_another_mode_copies_and_leaves_the_earlier_release_alone(backend: DirectoryBackend) -> None:
    before, after = small(), small(tokenizer=b'{"version": "2"}')
    first = transfer(document(before), backend.open(), MemorySource(before)).report.release
    source = MemorySource(after)
    second = transfer(document(after), backend.open(Modes(0o600, 0o700)), source).report.release
    assert [path for path, _, _ in source.asked] == ["tokenizer.json"]
    assert modes(backend, first) == {("file", 0o644), ("folder", 0o755)}
    assert modes(backend, second) == {("file", 0o600), ("folder", 0o700)}
    path = "model.safetensors"
    assert inode(backend, first, snapshot(before, path)) != inode(backend, second, snapshot(after, path))
    assert findings(backend.open(), second) == {}


def test_taking_up_a_build_with_another_mode_leaves_the_earlier_release_alone(backend: DirectoryBackend) -> None:
    before, after = small(), small(tokenizer=b'{"version": "2"}')
    first = transfer(document(before), backend.open(), MemorySource(before)).report.release
    with pytest.raises(Exception, match="No source holds"):
        transfer(document(after), backend.open(), jobs=1)  # links what is there, then stops
    assert backend.unfinished()
    second = transfer(document(after), backend.open(Modes(0o600, 0o700)), MemorySource(after)).report.release
    assert modes(backend, first) == {("file", 0o644), ("folder", 0o755)}
    assert modes(backend, second) == {("file", 0o600), ("folder", 0o700)}
    assert findings(backend.open(), first) == findings(backend.open(), second) == {}


def test_a_release_outlives_the_one_it_shares_with(backend: DirectoryBackend) -> None:
    before, after = small(), small(tokenizer=b'{"version": "2"}')
    first = transfer(document(before), backend.open(), MemorySource(before)).report.release
    second = transfer(document(after), backend.open(), MemorySource(after)).report.release
    backend.open().remove(first)
    assert findings(backend.open(), second) == {}


def test_refs_end_without_a_newline(backend: DirectoryBackend) -> None:
    made = small()
    release = transfer(document(made), backend.open(), MemorySource(made)).report.release
    assert backend.read(release, "hub/models--org--small/refs/main") == made.model.commit.encode()
    assert len(backend.read(release, "hub/models--org--small/refs/main")) == 40


# Repair


@pytest.mark.parametrize("damage", ["flipped bit", "size", "missing", "extra", "record", "no record", "lock"])
def test_a_damaged_release_can_be_mended(backend: DirectoryBackend, damage: str) -> None:
    made = small()
    release = transfer(document(made), backend.open(), MemorySource(made)).report.release
    path = snapshot(made, "model.safetensors")
    match damage:
        case "flipped bit":
            backend.overwrite(release, path, b"\1" + made.content["model.safetensors"][1:])
        case "size":
            backend.overwrite(release, path, b"")
        case "missing":
            backend.delete(release, path)
        case "extra":
            backend.overwrite(release, "hub/unlocked.bin", b"unlocked")
        case "record":
            backend.overwrite(release, "release.json", b"{}")
        case "no record":
            backend.delete(release, "release.json")
        case "lock":
            backend.overwrite(release, "models.lock", b"version = 1\n")
    assert is_damaged(document(made), backend.open())
    source = MemorySource(made)
    run = transfer(document(made), backend.open(), source, anew=True)
    assert run.report.changed
    moved = {"model.safetensors"} if damage in ("flipped bit", "size", "missing") else set()
    assert {name for name, _, _ in source.asked} == moved
    assert findings(backend.open(), release) == {}
    assert backend.read(release, "models.lock") == document(made).text
    assert backend.unfinished() == []


def test_a_whole_release_is_not_made_anew(backend: DirectoryBackend) -> None:
    made = small()
    assert not is_damaged(document(made), backend.open())
    transfer(document(made), backend.open(), MemorySource(made))
    assert not is_damaged(document(made), backend.open())


def test_a_repair_that_fails_leaves_the_release_where_it_was(backend: DirectoryBackend) -> None:
    made = small()
    release = transfer(document(made), backend.open(), MemorySource(made)).report.release
    backend.overwrite(release, snapshot(made, "model.safetensors"), b"")
    with pytest.raises(NotFound, match="No source holds"):
        transfer(document(made), backend.open(), anew=True)
    assert backend.open().releases() == (release,)
    assert findings(backend.open(), release) == {snapshot(made, "model.safetensors"): "size"}


# Another file system below


def test_a_release_folder_on_another_mount_is_left_alone(mounted: Mount) -> None:
    """`releases/` on its own volume: no rename can reach it, and nothing half appears there."""
    root = mounted(size="8m")
    backend = DirectoryBackend(root / "store")
    (backend.root / "releases").mkdir(parents=True)
    assert tmpfs(backend.root / "releases", size="8m") == ""
    try:
        with pytest.raises(StoreError):
            transfer(document(small()), backend.open(), MemorySource(small()))
        assert published(backend.root) == []
        assert backend.unfinished()  # what was verified is kept
    finally:
        unmount(backend.root / "releases")
