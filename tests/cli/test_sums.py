"""`provision sums`, read by the tools it is for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from provisioner.model import Layout
from tests.support.faults_process import Done, provision
from tests.support.hub_fixture import make
from tests.support.locks import SMALL, MemorySource, document, with_layouts
from tests.support.stores import DirectoryBackend, transfer

MODEL = with_layouts(make("org/small", {**SMALL, "a b é ü.txt": b"", "x'y #1.json": b"{}"}), Layout.FLAT, Layout.HUB)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A published release, the active one."""
    backend, lock = DirectoryBackend(tmp_path / "store"), document(MODEL)
    store = backend.open()
    release = transfer(lock, store, MemorySource(MODEL)).report.release
    store.activate(release)
    return backend.path(release)


def sums(folder: Path, *more: object) -> Done:
    return provision("sums", "--at", folder.parent.parent, *more, cwd=folder)


def sha256sum(listing: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sha256sum", "--check", "--strict", str(listing)],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"LC_ALL": "C"},
    )


@pytest.mark.parametrize(
    ("more", "below"),
    [
        ((), ""),
        (("--model", "org/small"), "models/small"),
        (("--model", "small", "--layout", "hub"), "hub/models--org--small"),
    ],
)
def test_sha256sum_checks_every_file(folder: Path, tmp_path: Path, more: tuple[str, ...], below: str) -> None:
    listing = tmp_path / "SHA256SUMS"
    assert sums(folder, *more, "-o", listing).code == 0
    assert sums(folder, *more).out == listing.read_text()
    done = sha256sum(listing, folder / below)
    files = [path for path in (folder / below).rglob("*") if path.is_file() and path.name != "release.json"]
    assert (done.returncode, done.stdout.count(": OK")) == (0, len(files)), done.stderr
    damaged = next(path for path in files if path.name == "model.safetensors")
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    assert sha256sum(listing, folder / below).returncode == 1


def test_rclone_finds_neither_more_nor_less(folder: Path, tmp_path: Path) -> None:
    rclone = shutil.which("rclone")
    if not rclone:
        pytest.skip("rclone is not on the PATH")
    listing, target = tmp_path / "SHA256SUMS", folder / "models/small"
    sums(folder, "--model", "org/small", "-o", listing)

    def checks() -> list[int]:
        commands = (
            ["checksum", "sha256", str(listing), str(target)],
            ["check", "-C", "sha256", str(listing), str(target)],
        )
        options = ["--config", "", "-q"]
        return [subprocess.run([rclone, *one, *options], capture_output=True).returncode for one in commands]

    assert checks() == [0, 0]
    (target / "extra").write_bytes(b"")
    assert 0 not in checks()
    (target / "extra").unlink()
    (target / "config.json").unlink()
    assert 0 not in checks()


def test_what_is_not_there(folder: Path, tmp_path: Path) -> None:
    assert (done := sums(folder, "--model", "org/none")).code == 7 and "org/small" in done.err
    assert sums(folder, "--release", "0123456789ab").code == 7
    assert sums(folder, "--layout", "flat").code == 2
    assert sums(folder, "-o", tmp_path / "no" / "folder").code == 8
