"""The `provision` command as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent.parent
NOBODY = 65534


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
    return base | {"PYTHONPATH": str(REPOSITORY), "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HOME": "/nonexistent"} | more


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "provisioner", *map(str, arguments)]


def provision(*arguments: object, cwd: Path, uid: int | None = None, timeout: float = 60, **variables: str) -> Done:
    """Run the command to its end; keywords in capitals are environment variables."""
    identity: Mapping[str, Any] = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        **identity,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def start(*arguments: object, cwd: Path, **variables: str) -> subprocess.Popen[bytes]:
    """Start the command; its output is thrown away, so that it cannot block."""
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@cache
def cannot_be_nobody() -> str:
    """Why nothing can be run as another uid here, or ""."""
    if os.geteuid() != 0:
        return "running as another uid needs root"
    done = subprocess.run(
        [sys.executable, "-c", "import provisioner.cli.main"],
        cwd="/",
        env=environment(),
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
    )
    return f"uid {NOBODY} cannot import the package: {done.stderr[-200:]}" if done.returncode else ""
