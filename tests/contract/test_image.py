"""jobs/Dockerfile: what can be said of it without an engine, and what holds of the images built from it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from provisioner import __version__
from provisioner.lockfile import parse
from provisioner.model import Layout
from tests.support import pods
from tests.support.containers import Engine, build, cannot_build, checked, engine
from tests.support.deployment import Deployment
from tests.support.faults import FaultyHub
from tests.support.locks import small
from tests.support.manifests import load
from tests.support.pods import Object
from tests.support.readonly import REPOSITORY
from tests.support.upstream import INT8, Weights

DOCKERFILE = REPOSITORY / "jobs/Dockerfile"
USERS = ("10001:0", "54321:0", "1000660000:0")
EXTRAS = {"image": ("s3", "minio", "azure"), "server": ("hub", "fastembed")}
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+) \\$", re.MULTILINE)


# Without an engine


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order; no comments, no continuation lines."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for line in joined.splitlines() if line for word, rest in [line.split(None, 1)]]


def stages() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Stage -> what it starts from, and its instructions."""
    found: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = (base, [])
        elif found:
            found[name][1].append((word, rest))
    return found


def locked(name: str) -> dict[str, str]:
    """Distribution -> version of a requirements file."""
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    return {canonicalize_name(name): version for name, version in _LOCKED.findall(text)}


def test_every_stage_starts_from_a_pinned_base_or_another_stage() -> None:
    arguments = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "=" in rest)
    assert re.fullmatch(r"docker\.io/library/python:3\.11\.\d+-slim-\w+", arguments["BASE"])
    assert arguments["BUILD_BASE"] == "${BASE}"
    known = {"${BASE}", "${BUILD_BASE}", *stages()}
    assert {base for base, _ in stages().values()} <= known
    assert list(stages())[-1] == "mirror", "the default target"


def test_the_last_stages_only_copy() -> None:
    for name in ("mirror", "server"):
        base, lines = stages()[name]
        assert (base, {word for word, _ in lines}) == ("runtime", {"LABEL", "COPY"})
        assert all(rest.startswith(f"--from={name}-files ") for word, rest in lines if word == "COPY")
    runtime = dict(stages()["runtime"][1])
    assert runtime["USER"] == ":".join(map(str, pods.IMAGE_USER))
    assert json.loads(runtime["ENTRYPOINT"]) == list(pods.ENTRYPOINT)
    said = dict(word.split("=", 1) for word in shlex.split(runtime["ENV"]))
    assert said.pop("PATH").startswith("/opt/provision/bin:")
    assert said == pods.IMAGE_VARIABLES


@pytest.mark.parametrize("name", ["build", *EXTRAS])
def test_what_is_installed_has_hashes_and_is_what_the_tests_ran_with(name: str) -> None:
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert len(blocks) == len(locked(name))
    assert all("--hash=sha256:" in block for block in blocks)
    tested = locked("dev")
    assert {one: version for one, version in locked(name).items() if tested.get(one, version) != version} == {}
    if name != "build":
        assert locked(name).keys() <= tested.keys()


@pytest.mark.parametrize("name", EXTRAS)
def test_what_is_installed_is_what_the_project_asks_for(name: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in EXTRAS[name] for one in project["optional-dependencies"][extra])]
    there = locked(name)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(there[canonicalize_name(requirement.name)]), requirement
    others = {"hub", "fastembed", "kubernetes", "sentence-transformers", "s3", "minio", "azure"} - set(EXTRAS[name])
    for extra in others:
        (first, *_) = map(Requirement, project["optional-dependencies"][extra])
        assert canonicalize_name(first.name) not in there, f"{name} needs no {extra}"


# Built


image = pytest.mark.image


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    if reason := cannot_build():
        pytest.skip(f"no image: {reason}")
    return engine(tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def mirror(podman: Engine) -> str:
    return build("mirror")


@pytest.fixture(scope="module")
def server(podman: Engine) -> str:
    return build("server")


@pytest.fixture(params=["mirror", "server"])
def built(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


def inside(podman: Engine, name: str, script: str, user: str = USERS[1]) -> str:
    """What a shell in the image prints."""
    done = podman.run(name, "-c", script, options=("--user", user, "--entrypoint=/bin/sh"))
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@image
def test_the_image_says_what_it_is(podman: Engine, built: str) -> None:
    config = podman.inspect(built)["Config"]
    assert (config["User"], tuple(config["Entrypoint"])) == ("10001:0", pods.ENTRYPOINT)
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert (labels["version"], labels["revision"], labels["licenses"]) == (__version__, "0" * 40, "Apache-2.0")
    assert labels["title"] and labels["description"]


@image
@pytest.mark.parametrize("user", USERS)
def test_any_user_can_run_it(podman: Engine, built: str, user: str) -> None:
    done = podman.run(built, "--version", options=("--user", user))
    assert (done.returncode, done.stdout) == (0, f"provision, version {__version__}\n"), done.stderr


@image
def test_nothing_in_it_installs_or_compiles(podman: Engine, built: str) -> None:
    names = "pip pip3 uv easy_install gcc cc c++ ld make"
    assert inside(podman, built, f"for name in {names}; do command -v $name; done; true") == ""
    module = "import importlib.util as u; print([n for n in ('pip', 'setuptools', 'ensurepip', 'wheel') if u.find_spec(n)])"
    for python in ("/opt/provision/bin/python", "$(readlink -f /opt/provision/bin/python)"):
        assert inside(podman, built, f'{python} -c "{module}"') == "[]\n"
    assert inside(podman, built, "find / -xdev \\( -name 'pip-*.whl' -o -name pip -o -name ensurepip \\) -not -path '/proc/*'") == ""


@image
def test_nothing_of_ours_is_writable_or_hidden(podman: Engine, built: str) -> None:
    ours = "/opt /usr/share/sbom"
    assert inside(podman, built, f"find {ours} \\( -not -user 0 -o -not -group 0 -o -perm /022 \\) -not -type l") == ""
    assert inside(podman, built, f"find {ours} -not -perm -044 -not -type l") == ""
    assert inside(podman, built, "find / -xdev -type f -writable -not -path '/proc/*' -not -path '/dev/*'") == ""


@image
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


@image
def test_the_list_of_what_is_in_it_is_complete(podman: Engine, built: str) -> None:
    bom = json.loads(inside(podman, built, "cat /usr/share/sbom/model-provisioner.cdx.json"))
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    listed = {canonicalize_name(one["name"]): one["version"] for one in bom["components"]}
    wanted = locked("server" if "server" in built else "image")
    assert listed == {**wanted, "model-provisioner": __version__}
    assert all(one["purl"].startswith("pkg:pypi/") for one in bom["components"] if one["name"] != "model-provisioner")


@image
def test_every_module_that_a_mirror_needs_can_be_imported(podman: Engine, mirror: str) -> None:
    script = """
import importlib, pkgutil
import azure.identity, azure.storage.fileshare, boto3, minio
import provisioner
skipped = ("provisioner.hub", "provisioner.loading.with", "provisioner.cluster", "provisioner.demo", "provisioner.__main__")
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


@image
@pytest.mark.parametrize("user", USERS[:2])
def test_a_mirror_without_a_network(podman: Engine, mirror: str, user: str, open_folder: Path) -> None:
    """From one volume to another, both mounted."""
    origin = Deployment(open_folder, small())
    with FaultyHub(small()) as hub:
        assert origin.run(origin.job(hub)).code == 0
    volume = open_folder / "target"
    volume.mkdir()
    volume.chmod(0o775)  # root's, so it is the group 0 that lets both in
    mounts = ("-v", f"{volume}:/mnt/models", "-v", f"{origin.volume}:/from:ro", "-v", f"{open_folder}/models.lock:/models.lock:ro")
    done = podman.run(
        mirror, "mirror", "--to", "pvc", "--from", "/from", "--json", options=("--user", user, "--tmpfs=/tmp", *mounts)
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["release"] == origin.release
    assert {path.stat().st_uid for path in volume.rglob("*")} == {int(user.partition(":")[0])}
    done = podman.run(mirror, "verify", "--at", "pvc", options=("--user", USERS[2], *mounts[:1], f"{volume}:/mnt/models:ro", *mounts[4:]))
    assert done.returncode == 0, done.stderr


def as_pod(job: Object, name: str, claim: Path) -> Object:
    """podman knows no Job: its template as a Pod, the claim as a folder of this machine, which is what a driver does."""
    template = job["spec"]["template"]
    volumes = [
        {"name": one["name"], "hostPath": {"path": str(claim), "type": "Directory"}} if "persistentVolumeClaim" in one else one
        for one in template["spec"]["volumes"]
    ]
    metadata = template["metadata"] | {"name": name}
    spec = template["spec"] | {"volumes": volumes, "hostNetwork": True}  # the Hub is on this machine's loopback
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@image
def test_podman_plays_the_job_and_the_cron_job(podman: Engine, mirror: str, open_folder: Path) -> None:
    deployment = Deployment(open_folder, small())
    deployment.volume.chmod(0o775)  # podman knows no fsGroup
    with FaultyHub(small()) as hub:
        objects = deployment.emit("job", "--set", f"job.endpoint={hub.url}", "--image", f"{mirror}:latest")
        code, said = play(podman, objects, deployment)
        assert code == 0, said
    assert deployment.findings() == {}
    (done,) = (json.loads(line) for line in said.splitlines() if '"exit_code"' in line) if False else ({},)
    objects = deployment.emit("verify", "--image", f"{mirror}:latest")
    code, said = play(podman, objects, deployment)
    assert code == 0, said
    deployment.file(small(), "config.json").write_text("{}")
    code, said = play(podman, objects, deployment)
    assert (code, "config.json" in said) == (3, True), said
