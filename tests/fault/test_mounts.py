"""Whole volumes that are full, read-only, or without links, through the command and through the library."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from provisioner.errors import StoreFull
from provisioner.model import Layout
from tests.support.faults_process import Done, provision
from tests.support.filling import BIG, Filling, fill
from tests.support.hub_fixture import make
from tests.support.locks import MemorySource, document, small, snapshot, tree, write
from tests.support.mounts import ext4, mounted_here, read_only, tmpfs, volume
from tests.support.stores import DirectoryBackend, files_below, findings, transfer

MANY = make("org/many", {"config.json": b"{}", **{f"f{n}.txt": b"%d" % n for n in range(60)}})


def prune(backend: DirectoryBackend, cwd: Path) -> Done:
    return provision("releases", "prune", "--keep", 1, "--at", backend.root, "--json", cwd=cwd)


@pytest.fixture(params=["tmpfs", "ext4"])
def tiny(request: pytest.FixtureRequest, open_folder: Path) -> Iterator[Callable[..., Path]]:
    """Mounts 8 MiB with some number of inodes."""
    point = open_folder / "tiny"
    point.mkdir()

    with ExitStack() as stack:

        def mount(inodes: int) -> Path:
            if request.param == "tmpfs":
                problem = tmpfs(point, size="8m", nr_inodes=str(inodes))
            else:
                problem = ext4(point, open_folder, 8, "-N", str(inodes))
            stack.enter_context(mounted_here(point, problem))
            return point

        yield mount


def test_a_full_volume_shows_nothing_and_prune_takes_the_rest(tiny: Callable[..., Path], tmp_path: Path) -> None:
    root = tiny(inodes=256)
    backend = DirectoryBackend(root / "store")
    with pytest.raises(StoreFull) as caught:
        transfer(document(BIG), backend.open(), Filling(root))
    assert (caught.value.exit_code, caught.value.retryable) == (8, False)
    assert backend.open().releases() == ()
    assert backend.open().active() is None
    done = prune(backend, tmp_path)
    assert done.code == 0, done.err
    assert backend.unfinished() == []
    (root / "ballast").unlink()
    run = transfer(document(BIG), backend.open(), MemorySource(BIG))
    assert findings(backend.open(), run.report.release) == {}


def test_without_inodes_nothing_is_shown_and_prune_makes_room(tiny: Callable[..., Path], tmp_path: Path) -> None:
    root = tiny(inodes=48)
    backend = DirectoryBackend(root / "store")
    release = transfer(document(small()), backend.open(), MemorySource(small())).report.release
    with pytest.raises(StoreFull):
        transfer(document(MANY), backend.open(), MemorySource(MANY))
    take_all_inodes(root)
    assert backend.open().releases() == (release,)
    assert findings(backend.open(), release) == {}
    assert backend.unfinished()
    done = prune(backend, tmp_path)
    assert done.code == 0, done.err
    assert backend.unfinished() == []
    assert findings(backend.open(), release) == {}


def take_all_inodes(root: Path) -> None:
    for number in range(1000):
        try:
            (root / f"taken-{number}").touch(exist_ok=False)
        except OSError:
            return
    raise AssertionError("the volume still has inodes")


def test_the_command_names_what_is_missing(tiny: Callable[..., Path], tmp_path: Path) -> None:
    root, origin = tiny(inodes=256), DirectoryBackend(tmp_path / "origin")
    transfer(document(BIG), origin.open(), MemorySource(BIG))
    fill(root / "ballast")
    arguments = ("mirror", "--lock", write(tmp_path, BIG), "--to", root / "store", "--from", origin.root)
    done = provision(*arguments, cwd=tmp_path)
    assert done.code == 8, done.err
    assert "Traceback" not in done.err
    assert [path for path in files_below(root) if path != "ballast"] == []


@pytest.fixture
def reader(open_folder: Path) -> Iterator[tuple[DirectoryBackend, DirectoryBackend]]:
    """A store with one release, and the same as a consumer's pod mounts it."""
    backend, point = DirectoryBackend(open_folder / "volume" / "store"), open_folder / "reader"
    transfer(document(small()), backend.open(), MemorySource(small()))
    backend.open().activate(tree(small()).release_id)
    point.mkdir()
    with mounted_here(point, read_only(point, open_folder / "volume")):
        yield backend, DirectoryBackend(point / "store")


def test_a_reader_can_look_verify_and_be_a_source(
    reader: tuple[DirectoryBackend, DirectoryBackend], tmp_path: Path
) -> None:
    _, mounted = reader
    lock = write(tmp_path, small())
    for arguments in (
        ("verify", "--at", mounted.root, "--lock", lock),
        ("status", "--at", mounted.root, "--lock", lock),
        ("releases", "list", "--at", mounted.root),
        ("fetch", "--lock", lock, "--store", mounted.root),
        ("mirror", "--lock", lock, "--to", tmp_path / "copy", "--from", mounted.root),
    ):
        done = provision(*arguments, cwd=tmp_path)
        assert done.code == 0, (arguments, done.err)
    assert findings(DirectoryBackend(tmp_path / "copy").open(), tree(small()).release_id) == {}


def test_a_reader_can_change_nothing(reader: tuple[DirectoryBackend, DirectoryBackend], tmp_path: Path) -> None:
    written, mounted = reader
    before = files_below(written.root)
    release = tree(small()).release_id
    lock, origin = write(tmp_path, BIG), DirectoryBackend(tmp_path / "origin")
    transfer(document(BIG), origin.open(), MemorySource(BIG))
    for arguments in (
        ("mirror", "--lock", lock, "--to", mounted.root, "--from", origin.root),
        ("releases", "activate", release, "--at", mounted.root),
        ("releases", "prune", "--keep", 1, "--at", mounted.root),
    ):
        done = provision(*arguments, cwd=tmp_path)
        assert (done.code, "read-only file system" in done.err) == (8, True), (arguments, done.err)
        assert "Traceback" not in done.err
    assert files_below(written.root) == before


@pytest.mark.parametrize("kind", ["exfat", "rclone"])
def test_without_links_everything_is_copied(kind: str, open_folder: Path) -> None:
    before = make("org/two", small().content, layouts=(Layout.HUB, Layout.FLAT))
    after = make("org/two", {**small().content, "tokenizer.json": b"{}"}, layouts=(Layout.HUB,), salt="later")
    with volume(kind, open_folder) as place:
        for call in (os.symlink, os.link):
            (place.path / "there").touch()
            with pytest.raises(OSError):
                call(place.path / "there", place.path / "second")
        backend = DirectoryBackend(place.path / "store")
        first = transfer(document(before), backend.open(), MemorySource(before)).report.release
        run = transfer(document(after), backend.open(), MemorySource(after))
        assert run.report.shared > 0
        paths = [(first, "models/two/model.safetensors"), (first, snapshot(before, "model.safetensors"))]
        paths.append((run.report.release, snapshot(after, "model.safetensors")))
        assert len({backend.path(*path).stat().st_ino for path in paths}) == 3
        backend.open().remove(first)
        assert findings(backend.open(), run.report.release) == {}
        assert backend.unfinished() == []
