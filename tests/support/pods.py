"""A rendered pod as a real process: its command, variables, user, groups, volumes and read-only root, no cluster.

Every container gets a root file system of its own in a mount and process namespace: nothing but /usr, the interpreter,
this repository and the pod's volumes, all read-only unless the volume is not. It runs as process 1, without
capabilities, as the uid and with the groups that the security contexts say. What a kubelet would do that is not done
here: seccomp, limits of memory and processor, probes, a network of its own, pulling the image. A field that is not
understood is an error, so that a test never passes because something was passed over.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.pod_root import Bind, become, enter, unavailable
from tests.support.pod_volumes import CannotStart, Cluster, Object, Volumes

# What the image says; contract/test_image.py holds the built one against it.
ENTRYPOINT = ("provision",)
IMAGE_USER = (10001, 0)
IMAGE_VARIABLES = {"LANG": "C.UTF-8", "HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}

ANY_UID = 1000660000  # as OpenShift gives a namespace
MESSAGE = 4096  # bytes of a termination message
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_NOT_FOR_US = {"image", "imagePullPolicy", "resources", "name", "ports", *_PROBES}  # of a container
_CONTAINER = {"command", "args", "env", "volumeMounts", "securityContext", "terminationMessagePolicy", *_NOT_FOR_US}
_SECURITY = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")


@dataclass(frozen=True)
class Ended:
    """How a container ended; `message` is its termination message."""

    code: int
    out: str
    err: str
    message: str


class Pod:
    """A pod of some spec; `run` for one that ends by itself, `container` for one that does not."""

    def __init__(self, template: Object, cluster: Cluster, folder: Path, variables: Mapping[str, str]) -> None:
        self.spec: Object = template["spec"]
        self.cluster = cluster
        self.folder = folder
        self.variables = variables
        self.volumes = Volumes(self.spec, cluster, folder)

    def run(self, timeout: float = 120) -> Ended:
        """Init containers one after the other, then the container; the first that fails, else the last."""
        for one in (*self.spec.get("initContainers", []), *self.spec["containers"]):
            ended = self.run_container(one["name"], timeout)
            if ended.code:
                break
        return ended

    def run_container(self, name: str, timeout: float = 120) -> Ended:
        with self.container(name) as running:
            return running.wait(timeout)

    @contextmanager
    def container(self, name: str) -> Iterator[Running]:
        """One that runs; it is killed at the end."""
        every = (*self.spec.get("initContainers", []), *self.spec["containers"])
        (found,) = (one for one in every if one["name"] == name)
        box = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        running = Running(Container(self, found, box))
        try:
            yield running
        finally:
            running.kill()


@dataclass(frozen=True)
class Container:
    """One container of a pod: what a runtime is told about it."""

    pod: Pod
    spec: Object
    box: Path

    def __post_init__(self) -> None:
        unknown = set(self.spec) - _CONTAINER
        assert not unknown, f"not understood: {unknown}"
        security = self.spec["securityContext"]
        assert security | _SECURITY == security, "no restricted container"

    @property
    def message(self) -> Path:
        return self.box / "termination-log"

    def process(self) -> list[str]:
        """command and args as a kubelet expands them, after the image's entrypoint."""
        words = [*self.spec.get("command", ENTRYPOINT), *self.spec.get("args", [])]
        return [expand(word, self.environment()) for word in words]

    def environment(self) -> dict[str, str]:
        """The image's variables, the pod's, in their order. Raises CannotStart."""
        given: dict[str, str] = {**self.pod.variables}
        for one in self.spec.get("env", []):
            given[one["name"]] = self._value(one) if "valueFrom" in one else expand(one.get("value", ""), given)
        path = f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin"
        return {"PATH": path, **IMAGE_VARIABLES, **given}

    def _value(self, variable: Object) -> str:
        ((kind, ref),) = variable["valueFrom"].items()
        assert set(ref) == {"name", "key"}, ref
        holders = {"secretKeyRef": self.pod.cluster.secrets, "configMapKeyRef": self.pod.cluster.config_maps}
        try:
            return holders[kind][ref["name"]][ref["key"]]
        except KeyError:
            raise CannotStart(f"CreateContainerConfigError: {ref['name']}/{ref['key']} not found") from None

    def user(self) -> tuple[int, int, list[int]]:
        """uid, gid and further groups. Raises CannotStart."""
        context = self.pod.spec.get("securityContext", {}) | self.spec["securityContext"]
        uid, gid = context.get("runAsUser", ANY_UID), context.get("runAsGroup", IMAGE_USER[1])
        if uid == 0 and context.get("runAsNonRoot"):
            raise CannotStart("container has runAsNonRoot and image will run as root")
        return uid, gid, [context["fsGroup"]] if "fsGroup" in context else []

    def mounts(self) -> Iterator[Bind]:
        """What of the pod's is seen where."""
        yield Bind(self.message, "/dev/termination-log")
        for one in self.spec.get("volumeMounts", []):
            assert set(one) <= {"name", "mountPath", "subPath", "readOnly"}, one
            path, read_only = self.pod.volumes.source(one)
            yield Bind(path, one["mountPath"], read_only)

    def start(self) -> subprocess.Popen[str]:
        self.message.touch()
        self.message.chmod(0o666)  # as a kubelet makes it
        return subprocess.Popen(
            [*enter(self.box / "root", *self.mounts()), *become(*self.user()), *self.process()],
            cwd="/",
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


class Running:
    """A started container."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._process = container.start()

    @property
    def ended(self) -> int | None:
        """Its exit code, once it has one."""
        return self._process.poll()

    def wait(self, timeout: float = 120) -> Ended:
        out, err = self._process.communicate(timeout=timeout)
        code = self._process.returncode
        message = self._container.message.read_bytes()[:MESSAGE].decode()
        if not message and code and self._container.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            message = (out + err)[-2048:]
        return Ended(code, out, err, message)

    def terminate(self) -> None:
        """SIGTERM to process 1, as a kubelet stops a pod."""
        os.kill(self._first(), signal.SIGTERM)

    def exec(self, *command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """`kubectl exec`: another process beside the first."""
        pid = self._first()
        inside = ("nsenter", f"--target={pid}", "--mount", "--pid", "--root", "--wd", "--")
        return subprocess.run(
            [*inside, *become(*self._container.user()), *command],
            env=self._container.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def kill(self) -> None:
        # Process 1, and with it the whole namespace. To kill `unshare` alone is not enough: what becomes another user
        # is no longer killed with its parent (PR_SET_PDEATHSIG).
        pid = self._process.pid
        if self._process.poll() is None:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
            if children:  # `unshare` ends when all of it is gone: its port and its files are free then
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(60)
        self._process.kill()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream
            stream.close()
        self._process.wait()

    def _first(self) -> int:
        """Process 1 of the container, once it is what the pod asked for."""
        pid = self._process.pid
        while True:
            assert self._process.poll() is None, "the container has ended"
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            root = os.readlink(f"/proc/{children[0]}/root") if children else "/"
            if root != "/" and _comm(children[0]) not in ("chroot", "setpriv"):
                return int(children[0])
            time.sleep(0.005)


def _comm(pid: str) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


@contextmanager
def pod(template: Object, cluster: Cluster, **variables: str) -> Iterator[Pod]:
    """A pod; skips the test, saying why, where it cannot be run."""
    if reason := unavailable():
        pytest.skip(f"pods as processes: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="provisioner-pod-"))
    try:
        folder.chmod(0o755)
        yield Pod(template, cluster, folder, variables)
    finally:
        shutil.rmtree(folder)


def run_job(job: Object, cluster: Cluster, timeout: float = 120) -> list[Ended]:
    """The pods of a Job, all at once, each with its index where the Job is Indexed."""
    spec = job["spec"]
    indexes: Sequence[int | None] = (None,)
    if spec.get("completionMode") == "Indexed":
        assert spec["parallelism"] == spec["completions"]
        indexes = range(spec["completions"])

    def run(index: int | None) -> Ended:
        given = {} if index is None else {"JOB_COMPLETION_INDEX": str(index)}  # the Job controller's own variable
        with pod(spec["template"], cluster, **given) as one:
            return one.run(timeout)

    with ThreadPoolExecutor(len(indexes)) as threads:
        return list(threads.map(run, indexes))


def action(job: Object, code: int) -> str:
    """What the Job's podFailurePolicy does about an exit code; "Count" when no rule is about it."""
    (name,) = (one["name"] for one in job["spec"]["template"]["spec"]["containers"])
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes and codes["containerName"] == name:
            assert codes["operator"] == "In"
            if code in codes["values"]:
                return str(rule["action"])
    return "Count"


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` where it is known, `$$` as `$`; anything else stays."""

    def one(found: re.Match[str]) -> str:
        return "$" if found[1] == "$" else variables.get(found[2], found[0])

    return _REFERENCE.sub(one, text)
