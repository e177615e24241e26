"""The images built from jobs/Dockerfile, and containers of them: `make test-image`, for it takes minutes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.utils import canonicalize_name

from provisioner import __version__
from provisioner.model import Layout
from tests.support import pods
from tests.support.containers import Engine, build, cannot_build, engine, sources
from tests.support.deployment import Deployment
from tests.support.faults import FaultyHub
from tests.support.faults_process import provision
from tests.support.hub_fixture import publish
from tests.support.locks import small
from tests.support.pod_volumes import Object
from tests.support.requirements import locked
from tests.support.served import int8_release
from tests.support.upstream import INT8, Weights, cosine, replace

USERS = ("10001:0", "54321:0", "1000660000:0")

pytestmark = [pytest.mark.image, pytest.mark.at_most(3600)]


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    if reason := cannot_build():
        pytest.skip(f"no image: {reason}")
    return engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def mirror(podman: Engine, context: Path) -> str:
    return build("mirror", context)


@pytest.fixture(scope="module")
def server(podman: Engine, context: Path) -> str:
    return build("server", context)


@pytest.fixture(scope="module")
def ray(podman: Engine, context: Path) -> str:
    return build("ray", context)


@pytest.fixture(params=["mirror", "server", "ray"])
def built(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def inside(podman: Engine, name: str, script: str, user: str = USERS[1]) -> str:
    """What a shell in the image prints."""
    done = podman.run(name, "-c", script, options=("--user", user, "--entrypoint=/bin/sh"))
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_the_image_says_what_it_is(podman: Engine, built: str) -> None:
    config = podman.inspect(built)["Config"]
    assert (config["User"], tuple(config["Entrypoint"])) == ("10001:0", pods.ENTRYPOINT)
    ours = "org.opencontainers.image."
    labels = {name.removeprefix(ours): value for name, value in config["Labels"].items() if name.startswith(ours)}
    assert (labels["version"], labels["revision"], labels["licenses"]) == (__version__, "0" * 40, "Apache-2.0")
    assert labels["title"] and labels["description"]


@pytest.mark.parametrize("user", USERS)
def test_any_user_can_run_it(podman: Engine, built: str, user: str) -> None:
    done = podman.run(built, "--version", options=("--user", user))
    assert (done.returncode, done.stdout) == (0, f"provision, version {__version__}\n"), done.stderr


def test_nothing_in_it_installs_or_compiles(podman: Engine, built: str) -> None:
    names = "pip pip3 uv easy_install gcc cc c++ ld make"
    assert inside(podman, built, f"for name in {names}; do command -v $name; done; true") == ""
    module = (
        "import importlib.util as u; print([n for n in ('pip', 'setuptools', 'ensurepip', 'wheel') if u.find_spec(n)])"
    )
    for python in ("/opt/provision/bin/python", "$(readlink -f /opt/provision/bin/python)"):
        assert inside(podman, built, f'{python} -c "{module}"') == "[]\n"
    left = "find / -xdev -not -path '/proc/*' \\( -name 'pip-*.whl' -o -name pip -o -name ensurepip \\)"
    assert inside(podman, built, left, user="0:0") == ""


def test_nothing_of_ours_is_writable_or_hidden(podman: Engine, built: str) -> None:
    ours = "/opt /usr/share/sbom"
    assert inside(podman, built, f"find {ours} \\( -not -user 0 -o -not -group 0 -o -perm /022 \\) -not -type l") == ""
    assert inside(podman, built, f"find {ours} -not -perm -044 -not -type l") == ""
    writable = "-perm -0002 -o -group 0 -perm -0020"
    files = f"find / -xdev -type f -not -path '/proc/*' \\( {writable} \\)"
    assert inside(podman, built, files, user="0:0") == "", "not by another uid of the group 0 either"


def test_every_module_was_compiled(podman: Engine, built: str) -> None:
    script = """
import glob, importlib.util as u
found = glob.glob("/opt/provision/lib/**/provisioner/**/*.py", recursive=True)
bad = []
for path in found:
    with open(u.cache_from_source(path), "rb") as file:
        flags = int.from_bytes(file.read(8)[4:], "little")
    if flags != 1:  # by hash, never compared with the source
        bad.append(path)
print(len(found) > 100, bad)
"""
    assert inside(podman, built, f"/opt/provision/bin/python -c {shlex.quote(script)}") == "True []\n"


def test_the_list_of_what_is_in_it_is_complete(podman: Engine, built: str) -> None:
    bom = json.loads(inside(podman, built, "cat /usr/share/sbom/model-provisioner.cdx.json"))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    listed = {canonicalize_name(one["name"]): one["version"] for one in bom["components"]}
    wanted = locked({"mirror": "image"}.get(target := built.rpartition("-")[2], target))
    assert listed == {**wanted, "model-provisioner": __version__}
    assert all(one["purl"].startswith("pkg:pypi/") for one in bom["components"] if one["name"] != "model-provisioner")


def test_every_module_that_a_mirror_needs_can_be_imported(podman: Engine, mirror: str) -> None:
    script = """
import importlib, pkgutil
import azure.identity, azure.storage.fileshare, boto3, minio
import provisioner
skipped = tuple("provisioner." + name for name in ("hub", "serve", "loading.with", "cluster", "demo"))
names = [one.name for one in pkgutil.walk_packages(provisioner.__path__, "provisioner.")]
wrong = {}
for name in names:
    if not name.startswith(skipped) and not name.endswith("__main__"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            wrong[name] = str(error)
print(len(names) > 100, wrong)
"""
    assert inside(podman, mirror, f"/opt/provision/bin/python -c {shlex.quote(script)}") == "True {}\n"


def bound(**folders: Path) -> list[str]:
    """Volumes of a container; `to_` is what it may write to."""
    places = {"store": "/mnt/models:ro", "to_store": "/mnt/models", "origin": "/origin:ro", "lock": "/models.lock:ro"}
    return [f"--volume={path}:{places[name]}" for name, path in folders.items()]


@pytest.mark.parametrize("user", USERS[:2])
def test_a_mirror_without_a_network(podman: Engine, mirror: str, user: str, open_folder: Path) -> None:
    """From one mounted volume to another."""
    deployment = Deployment(open_folder, small())
    with FaultyHub(small()) as hub:
        assert deployment.run(deployment.job(hub)).code == 0
    volume, lock = open_folder / "target", open_folder / "models.lock"
    volume.mkdir()
    volume.chmod(0o775)  # root's, so it is the group 0 that lets both in
    options = ("--user", user, *bound(to_store=volume, origin=deployment.volume, lock=lock))
    done = podman.run(mirror, "mirror", "--to", "pvc", "--from", "/origin", "--json", options=options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["release"] == deployment.release
    assert {path.stat().st_uid for path in volume.rglob("*")} == {int(user.partition(":")[0])}
    options = ("--user", USERS[2], *bound(store=volume, lock=lock))
    done = podman.run(mirror, "verify", "--at", "pvc", "--json", options=options)
    assert (done.returncode, json.loads(done.stdout)["evidence"]) == (0, "rehashed"), done.stderr


def play(podman: Engine, objects: list[Object], deployment: Deployment, name: str) -> tuple[int, str]:
    """The one pod of some objects under podman: its exit code and its log.

    podman knows no Job, so the template becomes a Pod; the claim is a folder of this machine, as a driver makes of it.
    """
    (job,) = (one for one in objects if one["kind"] in ("Job", "CronJob"))
    template = (job["spec"]["jobTemplate"] if job["kind"] == "CronJob" else job)["spec"]["template"]
    for volume in template["spec"]["volumes"]:
        if volume.pop("persistentVolumeClaim", None):
            volume["hostPath"] = {"path": str(deployment.volume), "type": "Directory"}
    metadata = template["metadata"] | {"name": name}
    spec = template["spec"] | {"hostNetwork": True}  # the Hub is on this machine's loopback
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    maps = [one for one in objects if one["kind"] == "ConfigMap"]
    file = deployment.folder / "pod.yaml"
    file.write_text(yaml.safe_dump_all([*maps, pod]))
    container = f"{name}-{spec['containers'][0]['name']}"
    try:
        done = podman.podman("kube", "play", "--log-driver=k8s-file", file)
        assert done.returncode == 0, done.stderr
        code = int(podman.podman("wait", container).stdout)
        logs = podman.podman("logs", container)
        return code, logs.stdout + logs.stderr
    finally:
        podman.podman("kube", "play", "--down", file)
        for one in maps:
            podman.podman("volume", "rm", "--force", one["metadata"]["name"])


def test_podman_plays_the_job_and_the_cron_job(podman: Engine, mirror: str, open_folder: Path) -> None:
    deployment, name = Deployment(open_folder, small()), f"provisioner-test-{os.getpid()}"
    deployment.volume.chmod(0o775)  # podman knows no fsGroup
    with FaultyHub(small()) as hub:
        objects = deployment.emit("job", "--set", f"job.endpoint={hub.url}", "--image", f"{mirror}:latest")
        code, said = play(podman, objects, deployment, name)
    assert code == 0, said
    assert deployment.findings() == {}
    objects = deployment.emit("verify", "--image", f"{mirror}:latest")
    code, said = play(podman, objects, deployment, name)
    assert code == 0, said
    deployment.file(small(), "config.json").write_text("{}")
    code, said = play(podman, objects, deployment, name)
    assert (code, "config.json" in said) == (3, True), said


def test_the_server_loads_a_real_model(podman: Engine, server: str, open_folder: Path) -> None:
    release = Weights(open_folder / "weights").release(Layout.HUB, INT8)
    lock = release.path / "models.lock"
    options = ("--user", USERS[1], "--tmpfs=/tmp", *bound(store=release.store, lock=lock))
    done = podman.run(server, "verify", "--at", "pvc", "--release", release.name, "--load", options=options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fastembed" in done.stdout


def test_the_server_serves_a_store_as_a_hub(podman: Engine, server: str, open_folder: Path) -> None:
    publish(open_folder / "store", small())
    name = f"provisioner-test-hub-{os.getpid()}"
    options = ("--user", USERS[1], "--detach", f"--name={name}", *bound(store=open_folder / "store"))
    done = podman.run(server, "hub", "--at", "pvc", "--port", "8765", options=options)
    assert done.returncode == 0, done.stderr
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8765/api/models/org/small').status)"
    try:
        for _ in range(300):
            answer = podman.podman("exec", name, "python", "-c", ask)
            if answer.returncode == 0:
                break
            time.sleep(0.1)
        assert answer.stdout == "200\n", answer.stderr
        podman.podman("kill", "--signal=TERM", name)
        assert podman.podman("wait", name).stdout in ("0\n", "")
    finally:
        podman.podman("rm", "--force", name)


ASK = """
import json, sys, urllib.request
path, body = sys.argv[1], sys.argv[2]
request = urllib.request.Request("http://127.0.0.1:9000" + path, body.encode() or None)
request.add_header("Content-Type", "application/json")
print(urllib.request.urlopen(request, timeout=300).read().decode())
"""


@pytest.mark.parametrize("user", ["10001:0", "65534:65534"])
def test_the_server_serves_what_is_mounted(podman: Engine, server: str, user: str, open_folder: Path) -> None:
    """Read-only, without a network, by the image's own command; asked from within, as its health check does."""
    release = int8_release(open_folder / "store")
    name = f"provisioner-test-serve-{os.getpid()}"
    scratch = ("--tmpfs=/scratch:mode=1777", "--env=HOME=/scratch", "--env=TMPDIR=/scratch")
    options = ("--user", user, "--detach", f"--name={name}", f"--volume={release}:/models:ro", *scratch)
    done = podman.run(server, options=options)
    assert done.returncode == 0, done.stderr

    def ask(path: str, body: object = None) -> Any:
        text = "" if body is None else json.dumps(body)
        return podman.podman("exec", name, "python", "-c", ASK, path, text)

    try:
        for _ in range(1000):
            answer = ask("/readyz")
            if answer.returncode == 0:
                break
            time.sleep(0.1)
        assert answer.returncode == 0, podman.podman("logs", name).stderr
        vectors = json.loads(ask("/embed", {"texts": ["a dog", "a puppy", "a tax return"]}).stdout)["embeddings"]
        assert cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2])
        ranked = ask("/rerank", {"query": "pets", "documents": ["a tax return", "a dog and a cat"]})
        assert ranked.returncode == 0, ranked.stderr
        podman.podman("kill", "--signal=TERM", name)
        assert podman.podman("wait", name).stdout in ("0\n", "")
    finally:
        podman.podman("rm", "--force", name)


def test_the_server_refuses_what_was_changed(podman: Engine, server: str, open_folder: Path) -> None:
    release = int8_release(open_folder / "store")
    (config,) = release.glob("hub/models--local--all-MiniLM*/snapshots/*/config.json")
    replace(config, config.read_bytes() + b" ")
    options = ("--user", USERS[1], "--tmpfs=/scratch:mode=1777", "--env=TMPDIR=/scratch")
    done = podman.run(server, options=(*options, f"--volume={release}:/models:ro"))
    assert (done.returncode, "config.json" in done.stderr) == (3, True), done.stderr


def test_the_ray_image_has_what_a_pod_of_ray_runs(podman: Engine, ray: str) -> None:
    """Found by bash without a login, as KubeRay starts it since 1.4."""
    found = inside(podman, ray, "bash -c 'command -v ray; command -v serve; command -v python'")
    assert found.split() == [f"/opt/provision/bin/{name}" for name in ("ray", "serve", "python")]
    script = "import ray; from provisioner.serve.ray import app; print(ray.__version__, callable(app))"
    said = inside(podman, ray, f"RAY_USAGE_STATS_ENABLED=0 python -c {shlex.quote(script)}")
    assert said == f"{locked('ray')['ray']} True\n"


def test_ray_runs_what_the_ray_service_says(podman: Engine, ray: str, open_folder: Path) -> None:
    """One container as a cluster: Ray as KubeRay starts it, the emitted variables, and the emitted serveConfigV2."""
    release = int8_release(open_folder / "store")
    shutil.copy(release / "models.lock", open_folder)
    given = ("--server", "provision", "--set", "ray.worker.cpu=2", "--set", "targets.pvc.kind=storage-class")
    done = provision("emit", "server", "ray", *given, cwd=open_folder)
    assert done.code == 0, done.err
    (spec,) = (one["spec"] for one in yaml.safe_load_all(done.out) if one["kind"] == "RayService")
    (worker,) = spec["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    variables = [f"--env={one['name']}={one['value']}" for one in worker["env"]]
    name, tmpfs = f"provisioner-test-ray-{os.getpid()}", ("--tmpfs=/tmp:mode=1777", "--tmpfs=/scratch:mode=1777")
    options = ("--user=10001:0", "--detach", f"--name={name}", f"--volume={release}:/models:ro", *tmpfs, *variables)
    start = "ray start --head --block --dashboard-host=0.0.0.0 --num-cpus=3"
    done = podman.run(ray, "-c", start, options=(*options, "--entrypoint=/bin/bash"))
    assert done.returncode == 0, done.stderr

    def ask(port: int, path: str, body: object = None) -> Any:
        script = ASK.replace("9000", str(port))
        return podman.podman("exec", name, "python", "-c", script, path, "" if body is None else json.dumps(body))

    def await_answer(probe: dict[str, Any]) -> None:
        until = time.monotonic() + 300
        while (answer := ask(probe["httpGet"]["port"], probe["httpGet"]["path"])).returncode:
            assert time.monotonic() < until, answer.stderr + podman.podman("exec", name, "serve", "status").stdout
            time.sleep(1)

    try:
        await_answer(worker["livenessProbe"])
        config = shlex.quote(spec["serveConfigV2"])
        deploy = f"echo {config} >/scratch/serve.yaml && serve deploy /scratch/serve.yaml"
        done = podman.podman("exec", name, "bash", "-c", deploy)
        assert done.returncode == 0, done.stderr
        await_answer(worker["readinessProbe"])
        ranked = ask(8000, "/rerank", {"query": "pets", "documents": ["a tax return", "a dog and a cat"]})
        assert ranked.returncode == 0, ranked.stderr
    finally:
        podman.podman("rm", "--force", name)


def test_the_same_sources_make_the_same_files(podman: Engine, mirror: str, context: Path) -> None:
    listed = "cd {}; find . -type f -printf '%p %m %T@ ' -exec sha256sum {{}} \\; | sort"
    again = build("mirror-files", context)
    for first, second in (("/opt/provision", "/opt/provision"), ("/usr/share/sbom", "/opt/sbom")):
        files = inside(podman, mirror, listed.format(first))
        assert files == inside(podman, again, listed.format(second))
        assert files
