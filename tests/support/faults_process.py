"""The `provision` command as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.patience import PATIENCE

REPOSITORY = Path(__file__).resolve().parent.parent.parent
NOBODY = 65534
SOMEBODY = 12345  # whose files they are


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines on stderr."""
        return [json.loads(line) for line in self.err.splitlines()]


def environment(**more: str) -> dict[str, str]:
    """An environment without anything of the machine's that provision or the Hub's client would read."""
    kept = {"PATH", "LANG", "TZ", "COVERAGE_PROCESS_START"}
    base = {name: value for name, value in os.environ.items() if name in kept}
    return base | {"PYTHONPATH": str(REPOSITORY), "HOME": "/nonexistent"} | more


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "provisioner", *map(str, arguments)]


def provision(*arguments: object, cwd: Path, timeout: float = PATIENCE, **variables: str) -> Done:
    """Run the command to its end; keywords in capitals are environment variables."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def start(*arguments: object, cwd: Path, stderr: Path = Path(os.devnull), **variables: str) -> subprocess.Popen[bytes]:
    """Start the command; what it says goes to a file, so that it cannot block."""
    with stderr.open("wb") as file:
        return subprocess.Popen(
            command(*arguments),
            cwd=cwd,
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
        )


@contextmanager
def started(
    *arguments: object, cwd: Path, stderr: Path = Path(os.devnull), **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The same; what still runs at the end of the block is killed, however the block ends."""
    process = start(*arguments, cwd=cwd, stderr=stderr, **variables)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Weak:
    """How to run something that may not read and write everything.

    Attributes:
        reason: why that cannot be done here, or "".
    """

    uid: int = 0
    prefix: tuple[str, ...] = ()
    reason: str = ""

    def run(self, *command: str, cwd: Path | str = "/", **variables: str) -> subprocess.CompletedProcess[str]:
        identity: Mapping[str, Any] = {"user": self.uid, "group": self.uid, "extra_groups": []} if self.uid else {}
        return subprocess.run(
            [*self.prefix, *command],
            cwd=cwd,
            env=environment(**variables),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            **identity,
        )

    def provision(self, *arguments: object, cwd: Path) -> Done:
        done = self.run(*command(*arguments), cwd=cwd)
        return Done(done.returncode, done.stdout, done.stderr)


@cache
def weak() -> Weak:
    """Another uid; or, where that one cannot reach the interpreter, uid 0 without its power over others' files."""
    if os.geteuid() != 0:
        return Weak(reason="running as another uid needs root")
    powers = "-dac_override,-dac_read_search,-fowner,-chown"
    for candidate in (Weak(NOBODY), Weak(0, ("setpriv", f"--bounding-set={powers}"))):
        try:
            done = candidate.run(sys.executable, "-c", "import provisioner.cli.main")
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    return Weak(reason=f"neither uid {NOBODY} nor a uid 0 without its powers can run {sys.executable}")
