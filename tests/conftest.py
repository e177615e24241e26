"""Fixtures for all tests: stores on several file systems, mounts, folders that other users can reach."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.stores import Backend, DirectoryBackend, cannot_mount, exfat, tmpfs, unmount

settings.register_profile("house", deadline=None)  # a slow machine is no failure
settings.load_profile("house")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every uid can enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="provisioner-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def mounted(open_folder: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a tmpfs of a given size (`size="1m"`, `nr_inodes="40"`); all go at the end."""
    if reason := cannot_mount():
        pytest.skip(reason)
    points: list[Path] = []

    def mount(**options: str) -> Path:
        point = open_folder / f"mount-{len(points)}"
        point.mkdir()
        tmpfs(point, **options)
        points.append(point)
        return point

    yield mount
    for point in points:
        unmount(point)


@pytest.fixture(params=["ext4", "tmpfs", "exfat"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """An empty store of every kind that a release can be in."""
    root = tmp_path / "store"
    if request.param == "ext4":  # whatever file system the temporary folder is on
        yield DirectoryBackend(root, hard_links=True, chmod=True)
        return
    mount = tmp_path / "mount"
    mount.mkdir()
    reason = cannot_mount() or (tmpfs(mount, size="64m") if request.param == "tmpfs" else exfat(mount, tmp_path))
    if reason:
        pytest.skip(f"{request.param}: {reason}")
    try:
        linux = request.param == "tmpfs"
        yield DirectoryBackend(mount / "store", hard_links=linux, chmod=linux)
    finally:
        unmount(mount)
