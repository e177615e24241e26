"""A Ray cluster of one node, as processes from the environment that `make test-ray` makes. Ray is not imported here."""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.faults_process import REPOSITORY, environment

PATIENCE_S = 600  # replicas are processes that import Ray and load a model, on a machine that does something else too
RAY = Path(os.environ.get("PROVISION_TEST_RAY", REPOSITORY / ".venv/ray/bin"))
_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "0.5",
    "RAY_metrics_report_interval_ms": "1000",
    # What Ray itself gives up after seconds, and makes anew: none of it is what is tested here.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "120",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "120",
    "RAY_worker_register_timeout_seconds": "600",
}
_RESERVED = range(20_000, 32_000)  # the kernel gives none of these to whoever asks for any port, nor Ray to a worker


def free_port() -> int:
    """For a process that takes it later. A port that the kernel chooses may be chosen again before that."""
    chance = random.SystemRandom()  # Hypothesis seeds the usual one, so that two workers would choose the same
    while True:
        with socket.socket() as probe:
            port = chance.choice(_RESERVED)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@dataclass(frozen=True)
class Cluster:
    """A running head.

    Attributes:
        folder: its logs and sockets; short, for a socket's path may have 107 bytes.
        http: the port of Serve's proxy, once something is deployed.
        metrics: the port that Prometheus reads.
    """

    folder: Path
    dashboard: str
    http: int
    metrics: int
    variables: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def run(
        self, program: str, *arguments: object, check: bool = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """A program of the environment, beside the cluster."""
        done = subprocess.run(
            [str(RAY / program), *map(str, arguments)],
            env=self.variables | more,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def deploy(self, *applications: dict[str, Any]) -> None:
        """What KubeRay does with a serveConfigV2; applications that are not in it any more go away."""
        config = {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": self.http},
            "applications": list(applications),
        }
        file = self.folder / "serve.yaml"
        file.write_text(yaml.safe_dump(config))
        self.run("serve", "deploy", file, "-a", self.dashboard)

    def application(self, name: str) -> dict[str, Any]:
        """What the REST API, and so `serve status`, knows of an application."""
        with urllib.request.urlopen(f"{self.dashboard}/api/serve/applications/", timeout=30) as answer:
            return dict(json.load(answer)["applications"].get(name) or {})

    def replicas(self, application: str, deployment: str) -> list[dict[str, Any]]:
        """The replicas that Serve takes for running, with their process ids. It learns late of one that is dead."""
        every = self.application(application).get("deployments", {}).get(deployment, {}).get("replicas", ())
        return [one for one in every if one["state"] == "RUNNING"]

    def await_ready(self, path: str = "/readyz") -> None:
        """Until an application answers its readiness."""
        until(lambda: self.ask(path), lambda answer: answer[0] == 200)

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """GET, or POST where there is a body: the status, and the answer, read as JSON where it is."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"} | headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, _read(answer)
        except urllib.error.HTTPError as error:
            return error.code, _read(error)

    def logs(self) -> str:
        """The ends of the log files of Serve."""
        files = sorted((self.folder / "session_latest/logs/serve").glob("*.log"))
        return "\n".join(f"== {file.name}\n{file.read_text()[-1500:]}" for file in files)


def application(name: str, route: str = "/", **more: Any) -> dict[str, Any]:
    """An application of a serveConfigV2."""
    return {"name": name, "route_prefix": route, "import_path": "provisioner.serve.ray:app", **more}


def _read(answer: Any) -> Any:
    text = answer.read()
    return json.loads(text) if answer.headers.get_content_type() == "application/json" else text.decode()


def until(what: Callable[[], Any], wanted: Callable[[Any], bool], seconds: float = PATIENCE_S) -> Any:
    """Ask until the answer is as wanted; the answer. Who does not answer is asked again. Fails with the last answer."""
    end = time.monotonic() + seconds
    while True:
        try:
            if wanted(found := what()):
                return found
        except (OSError, http.client.HTTPException) as error:
            found = error
        assert time.monotonic() < end, found
        time.sleep(0.3)


@contextmanager
def cluster(cpus: int, **variables: str) -> Iterator[Cluster]:
    """A head with so many CPUs, whatever the machine has."""
    assert (RAY / "ray").exists(), f"{RAY} is not there: make test-ray makes it"
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    dashboard, metrics = free_port(), free_port()
    known = environment(**(_VARIABLES | {"HOME": str(folder), "PATH": f"{RAY}:{os.environ['PATH']}"} | variables))
    options = {
        "--port": 0,
        "--node-ip-address": "127.0.0.2",
        "--num-cpus": cpus,
        "--object-store-memory": 200 * 2**20,
        "--temp-dir": folder,
        "--include-dashboard": "true",
        "--dashboard-host": "127.0.0.1",
        "--dashboard-port": dashboard,
        "--dashboard-agent-listen-port": free_port(),
        "--include-log-monitor": "false",
        "--ray-client-server-port": free_port(),
        "--metrics-export-port": metrics,
    }
    flags = [str(word) for pair in options.items() for word in pair]
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(
            [str(RAY / "ray"), "start", "--head", "--block", "--disable-usage-stats", *flags],
            env=known,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{dashboard}"
        until(lambda: process.poll() is not None or _answers(address), bool)
        assert process.poll() is None, (folder / "head.log").read_text()
        yield Cluster(folder, address, free_port(), metrics, known)
    finally:
        _stop(process, folder)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/api/serve/applications/", timeout=30):
            return True
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    """The head, then whatever of it is still there: its processes name its folder."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    until(lambda: _killed(folder), lambda killed: not killed)  # one that ends may just have started another
    shutil.rmtree(folder, ignore_errors=True)


def _killed(folder: Path) -> list[int]:
    found = list(_of(folder))
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def _of(folder: Path) -> Iterator[int]:
    """Processes whose command line or environment speaks of a folder."""
    word = os.fsencode(folder)
    for place in Path("/proc").glob("[0-9]*"):
        try:
            known = (place / "cmdline").read_bytes() + (place / "environ").read_bytes()
        except OSError:
            continue
        if word in known:
            yield int(place.name)
