"""The image, built by buildah and run by podman, without a daemon.

The base is what PROVISION_TEST_IMAGE_BASE names (and PROVISION_TEST_IMAGE_BUILD_BASE where that one has no pip), or a
Debian made by debootstrap. What the engine needs on a machine without cgroups and limits of its own is done in a mount
namespace and a runtime wrapper, so nothing is changed outside.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from provisioner import __version__
from tests.support.readonly import REPOSITORY

BASE, BUILD_BASE = "PROVISION_TEST_IMAGE_BASE", "PROVISION_TEST_IMAGE_BUILD_BASE"
PROGRAMS = {"buildah": "buildah", "podman": "podman", "crun": "crun", "catatonit": "catatonit", "unshare": "util-linux"}
LOCAL = "localhost/provisioner-test-base"
SUITE = "bookworm"  # its Python is the one that the requirements are locked for
IMAGE = "localhost/provisioner-test"
BUILD_SECONDS = 900
_CA = Path("/etc/ssl/certs/ca-certificates.crt")

# The limits that podman asks for may be above those of this machine, and no option of its own leaves them as they are.
_RUNTIME = """#!{python}
import json, os, sys
for flag, name in (("--bundle", "config.json"), ("-b", "config.json"), ("--process", ""), ("-p", "")):
    if flag in sys.argv:
        path = os.path.join(sys.argv[sys.argv.index(flag) + 1], name).rstrip("/")
        with open(path) as file:
            config = json.load(file)
        config.get("process", config).pop("rlimits", None)
        with open(path, "w") as file:
            json.dump(config, file)
os.execvp("crun", ["crun", *sys.argv[1:]])
"""
# crun takes a hierarchy of both versions for version 2, in which there are no controllers then.
_ONE_HIERARCHY = 'if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec "$@"'

# What a pod of ours may not do, in podman's words. /dev/shm is the runtime's own and stays writable.
RESTRICTED = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL", "--security-opt=no-new-privileges")


@cache
def cannot_build() -> str:
    """Why there can be no image here, and what to do; or ""."""
    if os.geteuid() != 0:
        return "building an image needs root here"
    wanted = PROGRAMS | ({} if os.environ.get(BASE) else {"debootstrap": "debootstrap"})
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin:/usr/libexec/podman"
    if missing := sorted(package for name, package in wanted.items() if not shutil.which(name, path=path)):
        return f"apt-get install --no-install-recommends {' '.join(missing)}"
    return ""


@dataclass(frozen=True)
class Engine:
    """podman with a runtime of ours."""

    runtime: Path

    def run(self, image: str, *words: object, options: tuple[object, ...] = (), network: str = "none") -> Any:
        """A container as restricted as a pod of ours, to its end."""
        given = ("--rm", f"--network={network}", *RESTRICTED, *options)
        return self.podman("run", *given, image, *words)

    def podman(self, *words: object, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        command = ["podman", "--runtime", str(self.runtime), *map(str, words)]
        alone = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _ONE_HIERARCHY, "sh")
        return subprocess.run(
            [*alone, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )

    def inspect(self, image: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(checked("podman", "image", "inspect", image))[0]
        return found


def engine(folder: Path) -> Engine:
    runtime = folder / "runtime"
    runtime.write_text(_RUNTIME.format(python=sys.executable))
    runtime.chmod(0o755)
    return Engine(runtime)


def build(target: str, context: Path) -> str:
    """Build a target of the Dockerfile from a copy of the repository; the image's name."""
    name = f"{IMAGE}-{target}"
    base, build_base = _bases()
    arguments = {"BASE": base, "BUILD_BASE": build_base, "VERSION": __version__, "REVISION": "0" * 40}
    with tempfile.TemporaryDirectory(prefix="provisioner-build-") as folder:
        checked(
            # No --layers: old ones keep a LABEL from before its argument changed.
            *("buildah", "bud", "--isolation=chroot", f"--target={target}", f"--tag={name}"),
            *(f"--build-arg={key}={value}" for key, value in arguments.items()),
            *_secrets(Path(folder)),
            f"--file={context / 'jobs/Dockerfile'}",
            context,
        )
    return name


def sources(folder: Path) -> Path:
    """A copy of what is built, so that nobody changes it between two builds."""
    for name in ("jobs", "provisioner", "requirements"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".dockerignore", "LICENSE", "README.md", "pyproject.toml"):
        shutil.copy2(REPOSITORY / name, folder / name)
    return folder


def checked(*command: object, **more: Any) -> str:
    """A command that must not fail; what it said on stdout."""
    done = subprocess.run(
        list(map(str, command)),
        stdin=more.pop("stdin", subprocess.DEVNULL),
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        **more,
    )
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}"
    return done.stdout


def _secrets(folder: Path) -> list[str]:
    """pip's index and CA, where this machine has its own."""
    conf = folder / "pip.conf"
    bundle = f"[global]\ncert = {_CA}\n" if _CA.exists() else "[global]\n"
    conf.write_text(bundle + (f"index-url = {index}\n" if (index := os.environ.get("PIP_INDEX_URL")) else ""))
    return [f"--secret=id=pip,src={conf}", *([f"--secret=id=ca,src={_CA}"] if _CA.exists() else [])]


def _bases() -> tuple[str, str]:
    if base := os.environ.get(BASE):
        return base, os.environ.get(BUILD_BASE, base)
    if not _there(f"{LOCAL}:{SUITE}"):
        _bootstrap(f"{LOCAL}:{SUITE}")
    if not _there(f"{LOCAL}:build"):
        _with_pip(f"{LOCAL}:{SUITE}", f"{LOCAL}:build")
    return f"{LOCAL}:{SUITE}", f"{LOCAL}:build"


def _there(image: str) -> bool:
    return subprocess.run(["podman", "image", "exists", image], capture_output=True).returncode == 0


def _bootstrap(image: str) -> None:
    """Debian with Python, as small as debootstrap makes it."""
    with tempfile.TemporaryDirectory(prefix="provisioner-base-") as folder:
        root = Path(folder, "root")
        checked("debootstrap", "--variant=minbase", "--include=python3,ca-certificates", SUITE, root)
        for waste in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / waste)
        tar = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
        checked("podman", "import", "--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin", "-", image, stdin=tar.stdout)
        assert tar.wait() == 0


def _with_pip(base: str, image: str) -> None:
    install = "DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3-venv"
    with tempfile.TemporaryDirectory(prefix="provisioner-base-") as folder:
        Path(folder, "Dockerfile").write_text(f"FROM {base}\nRUN apt-get update -q && {install}\n")
        checked("buildah", "bud", "--isolation=chroot", "--pull-never", f"--tag={image}", folder)
