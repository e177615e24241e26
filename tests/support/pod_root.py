"""The root file system, user and groups of a container as a process: what a container runtime does, by util-linux."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.readonly import REPOSITORY

_DEVICES = ("null", "zero", "full", "random", "urandom")
_PROGRAMS = {"mount": "mount", "unshare": "util-linux", "setpriv": "util-linux", "nsenter": "util-linux"}


@dataclass(frozen=True)
class Bind:
    """A file or folder of this machine, seen at a path of the container."""

    source: Path
    at: str
    read_only: bool = False


def enter(root: Path, *binds: Bind) -> list[str]:
    """The start of a command line: the rest of it runs as process 1 in `root`, which is made for it alone."""
    root.mkdir()
    steps = " && ".join(shlex.join(map(str, step)) for step in _steps(root, binds))
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation", "private")
    chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin") or "chroot"
    return [*alone, "sh", "-c", f'umask 022 && {steps} && exec "$@"', "sh", chroot, str(root)]


def become(uid: int, gid: int, groups: list[int]) -> list[str]:
    """The start of a command line: the rest of it runs as this user, without any capability and any way to more."""
    more = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
    none = ("--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs")
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", more, *none, "--"]


def give(path: Path, group: int) -> None:
    """fsGroup with OnRootMismatch: everything to the group, unless the root is its own already."""
    if path.stat().st_gid == group and path.stat().st_mode & 0o2070 == 0o2070:
        return
    for place in (path, *path.rglob("*")):
        mode = stat.S_IMODE(place.stat().st_mode)
        os.chown(place, -1, group)
        place.chmod(mode | (0o2070 if place.is_dir() else 0o060))


@cache
def unavailable() -> str:
    """Why there can be no container here, or ""."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "mounting needs root on Linux"
    if missing := {package for name, package in _PROGRAMS.items() if not shutil.which(name)}:
        return f"install {', '.join(sorted(missing))}"
    alone = ["unshare", "--mount", "--pid", "--fork", "mount", "--bind", "/", "/mnt"]
    done = subprocess.run(alone, capture_output=True, text=True)
    return done.stderr.strip()


def _steps(root: Path, binds: tuple[Bind, ...]) -> Iterator[tuple[object, ...]]:
    """A root file system of this machine's programs, this repository and what was asked for; nothing else of it."""
    yield "mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", root
    for place in _image():
        yield from _bind(root, Bind(place, str(place), read_only=True))
    for name in ("bin", "sbin", "lib", "lib64"):
        if (link := Path("/", name)).is_symlink():
            yield "ln", "-s", os.readlink(link), root / name
        elif link.exists():
            yield from _bind(root, Bind(link, str(link), read_only=True))
    yield "mkdir", "-p", root / "tmp", root / "proc"  # what was bound may lie in there
    yield "chmod", "1777", root / "tmp"
    yield "mount", "-t", "proc", "proc", root / "proc"
    for bind in (*(Bind(Path("/dev", name), f"/dev/{name}") for name in _DEVICES), *binds):
        yield from _bind(root, bind)
    yield "mount", "-o", "remount,ro", root


def _bind(root: Path, bind: Bind) -> Iterator[tuple[object, ...]]:
    point = root / bind.at.lstrip("/")
    yield "mkdir", "-p", point if bind.source.is_dir() else point.parent
    if not bind.source.is_dir():
        yield "touch", point
    yield "mount", "--rbind", bind.source, point
    if bind.read_only:
        yield "mount", "-o", "remount,bind,ro", point


def _image() -> list[Path]:
    """What stands for the image, none of it within another."""
    etc = [path for name in ("ld.so.cache", "hosts", "ssl") if (path := Path("/etc", name)).exists()]
    wanted = {Path("/usr"), Path(sys.base_prefix), Path(sys.prefix), REPOSITORY, *etc}
    return sorted(path for path in wanted if not wanted & set(path.parents))
