"""A pod without Kubernetes: models mounted read-only, one writable scratch folder, no network, another user.

The mounts are made in a mount namespace that ends with the command, so nothing outside it changes and nothing has to
be undone. Needs root (and then skips nothing of what a kubelet does), Linux and util-linux.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
UIDS = (65534, 10001)

# A network namespace has a loopback that is down, and servers under test are asked over it: SIOCSIFFLAGS, IFF_UP.
_LOOPBACK_UP = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh22x', b'lo', 1))"


@dataclass(frozen=True)
class Pod:
    """Where a command finds things; the folders are empty outside of it.

    Attributes:
        models: the content that a command was started with, read-only.
        scratch: an empty tmpfs that every user may write to.
    """

    folder: Path

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    def run(
        self, content: Path, *command: object, uid: int, variables: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that sees `content` at `models`, with these variables and no others but PATH."""
        setup = " && ".join(shlex.join(step) for step in self._mounts(content))
        become = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", "--")
        return subprocess.run(
            [
                *("unshare", "--mount", "--net", "--propagation", "private"),
                *("sh", "-c", f'umask 022 && {setup} && exec "$@"', "sh", *become, *map(str, command)),
            ],
            cwd="/",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def python(self, content: Path, script: str, *arguments: object, uid: int, variables: Mapping[str, str]) -> Any:
        """Run a script; what it printed in its last line, which is JSON."""
        done = self.run(content, sys.executable, "-c", script, *arguments, uid=uid, variables=variables)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    def _mounts(self, content: Path) -> Iterator[tuple[str, ...]]:
        yield sys.executable, "-c", _LOOPBACK_UP
        yield "mount", "--bind", str(content), str(self.models)
        yield "mount", "-o", "remount,bind,ro", str(self.models)
        yield "mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(self.scratch)
        yield from self._open_up()
        yield "mount", "-o", "remount,bind,ro", "/"

    def _open_up(self) -> Iterator[tuple[str, ...]]:
        """Let other users through to Python and the tests where a folder above is its owner's alone, as /root is.

        Such a folder is covered by a tmpfs that everybody may enter, with nothing in it but what is needed. That
        is put together beside it, since it cannot be reached any more once it is covered.
        """
        needed = {Path(sys.prefix), Path(sys.base_prefix), REPOSITORY, self.folder}
        for number, closed in enumerate(sorted({top for path in needed if (top := _closed(path))})):
            skeleton = self.folder / f"skeleton-{number}"
            yield "mkdir", "-p", str(skeleton)
            yield "mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(skeleton)
            for path in sorted(path for path in needed if closed in path.parents):
                point = skeleton / path.relative_to(closed)
                yield "mkdir", "-p", str(point)
                yield "mount", "--rbind", str(path), str(point)
            yield "mount", "--rbind", str(skeleton), str(closed)
            yield "umount", "-R", "-l", str(skeleton)


def _closed(path: Path) -> Path | None:
    """The topmost folder above a path that others may not enter."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & stat.S_IXOTH), None)


@contextmanager
def pod() -> Iterator[Pod]:
    """A pod to run commands in; skips the test, saying why, where that cannot be done."""
    if reason := unavailable():
        pytest.skip(f"a read-only mount for another user: {reason}")
    with _pod() as made:
        yield made


@contextmanager
def _pod() -> Iterator[Pod]:
    folder = Path(tempfile.mkdtemp(prefix="provisioner-pod-"))
    try:
        folder.chmod(0o755)  # mkdtemp's own is 0700
        made = Pod(folder)
        made.models.mkdir()
        made.scratch.mkdir()
        yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@cache
def unavailable() -> str:
    """Why there can be no pod here, or ""."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if missing := [name for name in ("unshare", "mount", "setpriv") if not shutil.which(name)]:
        return f"{', '.join(missing)} of util-linux is not installed"
    with _pod() as made, tempfile.TemporaryDirectory() as content:
        done = made.run(Path(content), sys.executable, "-c", "import provisioner", uid=UIDS[0], variables={})
    return done.stderr.strip()[-500:] if done.returncode else ""
