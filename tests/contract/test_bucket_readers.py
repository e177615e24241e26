"""A release in a bucket as others read it: rclone against our sums, and as files through a FUSE mount."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.emit.sums import sums
from provisioner.model import Layout
from tests.support.locks import MemorySource, document, small, with_layouts
from tests.support.mounts import cannot_mount, unmount
from tests.support.object_backend import ObjectBackend, object_backend
from tests.support.patience import PATIENCE, until
from tests.support.seaweed import cannot_serve
from tests.support.stores import transfer

MODEL = with_layouts(small("org/Small-Model"), Layout.FLAT)
TOP = "models/Small-Model"


@pytest.fixture
def bucket() -> Iterator[ObjectBackend]:
    if reason := cannot_serve() or ("" if shutil.which("rclone") else "rclone is not on PATH"):
        pytest.skip(reason)
    with object_backend("s3") as found:
        yield found


@pytest.fixture
def release(bucket: ObjectBackend) -> str:
    return transfer(document(MODEL), bucket.open(), MemorySource(MODEL)).report.release


def rclone(bucket: ObjectBackend, scratch: Path, *words: str) -> list[str]:
    """The command, with the server as the remote `there`."""
    config, server = scratch / "rclone.conf", bucket.server
    config.write_text(
        f"[there]\ntype = s3\nprovider = Other\nendpoint = {server.endpoint}\naccess_key_id = {server.access_key}\n"
        f"secret_access_key = {server.secret_key}\nregion = {server.region}\n"
    )
    return ["rclone", "--config", str(config), *words]


def test_rclone_finds_what_our_sums_say_and_nothing_else(bucket: ObjectBackend, release: str, tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_text(sums(bucket.open().record(release), TOP))
    place = f"there:{bucket.bucket}/{bucket.key(release, TOP)}"
    check = rclone(bucket, tmp_path, "checksum", "sha256", str(tmp_path / "SHA256SUMS"), place, "--download")
    done = subprocess.run(check, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, "3 matching files" in done.stderr) == (0, True), done.stderr
    bucket.overwrite(release, f"{TOP}/tokenizer.json", b'{"version": "1.1"}')
    done = subprocess.run(check, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "tokenizer.json" in done.stderr


def test_a_mounted_release_reads_like_files(bucket: ObjectBackend, release: str, tmp_path: Path) -> None:
    if reason := cannot_mount() or ("" if shutil.which("fusermount3") else "fusermount3 (fuse3) is not here"):
        pytest.skip(reason)
    point = tmp_path / "mount"
    point.mkdir()
    place = f"there:{bucket.bucket}/{bucket.key(release)}"
    mount = subprocess.Popen(rclone(bucket, tmp_path, "mount", "--read-only", place, str(point)))
    try:
        until(lambda: point.is_mount() or mount.poll() is not None)
        assert mount.poll() is None, "rclone could not mount"
        for path, content in MODEL.content.items():
            assert (point / TOP / path).read_bytes() == content
        assert sorted(path.name for path in point.iterdir()) == ["models", "models.lock", "release.json"]
    finally:
        unmount(point)
        mount.wait(PATIENCE)
