"""`provision job` as a process against an emulated cluster."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.emit.kubernetes.facts import Facts
from tests.support.api_cluster import Played
from tests.support.api_server import ApiServer
from tests.support.faults_process import Done, command, environment
from tests.support.locks import document, small, write
from tests.support.patience import PATIENCE

DOCUMENT = document(small())
FACTS = Facts.of(DOCUMENT.lock, DOCUMENT.text, DOCUMENT.digest)
JOB = f"models-mirror-{FACTS.release}"
LOCK_MAP = f"models-lock-{FACTS.digest[:12]}"


@dataclass
class Running:
    """A command that is under way."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def done(self) -> Done:
        """Its end, awaited."""
        code = self.process.wait(PATIENCE)
        return Done(code, self.out.read_text(), self.err.read_text())


@dataclass
class Site:
    """A folder with a lock and a kubeconfig, and the cluster it points at."""

    api: ApiServer
    folder: Path
    running: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        write(self.folder, small())
        self.kubeconfig = self.api.kubeconfig(self.folder)

    def start(self, *arguments: object) -> Running:
        return self.launch("job", *arguments)

    def launch(self, *arguments: object) -> Running:
        """Any command."""
        place = Path(tempfile.mkdtemp(dir=self.folder))
        out, err = place / "out", place / "err"
        with out.open("wb") as to, err.open("wb") as errors:
            process = subprocess.Popen(
                command(*arguments),
                cwd=self.folder,
                env=environment(KUBECONFIG=str(self.kubeconfig)),
                stdin=subprocess.DEVNULL,
                stdout=to,
                stderr=errors,
            )
        self.running.append(Running(process, out, err))
        return self.running[-1]

    def run(self, *arguments: object) -> Running:
        """`job run`, looking often."""
        return self.start("run", "--every", "0.05", *arguments)

    def do(self, *arguments: object) -> Done:
        """A command of `job` to its end."""
        return self.start(*arguments).done()

    def job(self, name: str = JOB) -> Played:
        played = Played(self.api, name)
        assert played.job
        return played

    def close(self) -> None:
        for one in self.running:
            one.process.kill()
            one.process.wait()


def event(name: str, **fields: Any) -> str:
    return json.dumps({"event": name, **fields})


def started(files: int = 3, size: int = 300, task: str = "mirror") -> str:
    return event("started", task=task, files=files, bytes=size)


def file_done(path: str, size: int = 100) -> str:
    return event("file_done", path=path, size=size, how="moved", origin="hub")


FINISHED = event("finished", task="mirror")
SUMMARY = {"command": "mirror", "exit_code": 0, "release": FACTS.release, "files": 3, "bytes": 300, "seconds": 1.5}


def result(**more: Any) -> list[str]:
    """What a mirror prints on stdout, line by line."""
    found = {
        "store": "/mnt/models",
        "release": FACTS.release,
        "changed": True,
        "files": 3,
        "bytes": 300,
        "moved": 300,
        "shared": 0,
        "resumed": 0,
        "seconds": 1.5,
        "origins": {"hub": [3, 300]},
        "active": True,
        "before": None,
    }
    return json.dumps(found | more, indent=1).splitlines()
