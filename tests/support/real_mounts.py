"""A real NFS 4.2 and a real SMB 3.1.1 mount, given by the environment or made in a guest of our own.

The guest is a User-Mode Linux kernel: an ordinary process that boots a real Linux on the files of this machine, with
the kernel's NFS server, Samba and both clients in it, whatever this machine's own kernel has. It runs in a process
namespace of its own, so that nothing outlives it, and what it mounts is never seen outside.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.faults_process import REPOSITORY
from tests.support.mounts import Volume

VARIABLES = {"nfs": "PROVISION_TEST_NFS_DIR", "smb": "PROVISION_TEST_SMB_DIR"}
SMALL = {"nfs": "PROVISION_TEST_NFS_SMALL_DIR", "smb": "PROVISION_TEST_SMB_SMALL_DIR"}  # the same, with 8 MiB of room
KINDS = tuple(VARIABLES)
SCRIPT = Path(__file__).with_name("guest.sh")
MODULES = Path("/usr/lib/uml/modules")
MEMORY = "1G"
BOOT_SECONDS = 300

# What the guest needs, with the Debian package it is in.
_BOTH = {"linux.uml": "user-mode-linux", "modprobe": "kmod", "ip": "iproute2", "setpriv": "util-linux"}
PROGRAMS = {
    "nfs": _BOTH | {"mount.nfs4": "nfs-common", "rpc.nfsd": "nfs-kernel-server", "rpcbind": "rpcbind"},
    "smb": _BOTH | {"mount.cifs": "cifs-utils", "smbd": "samba", "smbpasswd": "samba-common-bin"},
}


def given() -> tuple[str, ...]:
    """The kinds of which the environment names a mount."""
    return tuple(kind for kind in KINDS if os.environ.get(VARIABLES[kind]))


@contextmanager
def share(kind: str, variables: dict[str, str] = VARIABLES) -> Iterator[Volume]:
    """An empty folder on a given mount; it goes at the end."""
    folder = Path(tempfile.mkdtemp(prefix="provisioner-", dir=os.environ[variables[kind]]))
    try:
        yield Volume(folder, hard_links=_can_link(folder), chmod=kind == "nfs")
    finally:
        shutil.rmtree(folder)


def _can_link(folder: Path) -> bool:
    """Azure Files has no hard links; Samba has, but the client cannot open two names of one file at once."""
    first, second = folder / "first", folder / "second"
    first.touch()
    try:
        second.hardlink_to(first)
        with first.open(), second.open():
            return True
    except OSError:
        return False
    finally:
        first.unlink()
        second.unlink(missing_ok=True)


def cannot_boot(kind: str) -> str:
    """Why there can be no guest with such a mount here, and what to do; or ""."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "User-Mode Linux needs Linux on x86-64"
    if os.geteuid() != 0:
        return f"the guest needs root; or give a mount in {VARIABLES[kind]}"
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    missing = {package for program, package in PROGRAMS[kind].items() if not shutil.which(program, path=path)}
    if missing:
        install = f"apt-get install --no-install-recommends {' '.join(sorted(missing))}"
        return f"no guest without {', '.join(sorted(missing))}: {install}; or give a mount in {VARIABLES[kind]}"
    return "" if MODULES.is_dir() else f"user-mode-linux has no modules in {MODULES}"


@dataclass(frozen=True)
class Guest:
    """How a command in a guest ended.

    Attributes:
        code: its exit code, or None when it did not end or never began.
        output: what it wrote; what the kernel and the boot wrote when it never began.
    """

    code: int | None
    output: str


def run_in_guest(kind: str, *command: str, seconds: int) -> Guest:
    """Boot, mount, run the command in the repository with the mount's variable set, power off."""
    with tempfile.TemporaryDirectory(prefix="provisioner-guest-") as folder:
        box = Path(folder)
        (box / "run").write_text(_script(kind, command))
        console = _boot(kind, box, seconds)
        output, status = box / "output", box / "status"
        if not status.exists():
            boot = (box / "boot").read_text() if (box / "boot").exists() else ""
            text = output.read_text(errors="replace") if output.exists() else ""
            return Guest(None, f"The guest ended before the command did.\n{console[-2000:]}\n{boot[-2000:]}\n{text}")
        return Guest(int(status.read_text()), output.read_text(errors="replace"))


def _script(kind: str, command: tuple[str, ...]) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    mounts = {VARIABLES[kind]: "/mnt/share", SMALL[kind]: "/mnt/small", "PYTHONDONTWRITEBYTECODE": "1"}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in (kept | mounts).items()]
    return "\n".join([*exports, f"cd {shlex.quote(str(REPOSITORY))}", f"exec {shlex.join(command)}", ""])


def _boot(kind: str, box: Path, seconds: int) -> str:
    """Run the kernel to its end; its console."""
    kernel = ("linux.uml", f"mem={MEMORY}", "rootfstype=hostfs", "rootflags=/", "rw", "quiet", "panic=-1")
    console = ("con=null", "con0=null,fd:1", "ssl=null", f"uml_dir={box}", "umid=guest")
    first = ("init=/bin/bash", "--", str(SCRIPT), str(box), kind, str(seconds))
    die_with_us = ("setpriv", "--pdeathsig", "KILL")
    alone = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation", "private")
    with (box / "console").open("wb") as file:
        process = subprocess.Popen(
            [*die_with_us, *alone, *kernel, *console, *first],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd="/",
        )
        try:
            process.wait(seconds + BOOT_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()  # and with it the whole namespace
            process.wait()
    return (box / "console").read_text(errors="replace")
