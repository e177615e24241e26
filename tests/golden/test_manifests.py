"""`manifests/` and `jobs/` are what the commands in their render.sh write today, and what a cluster takes.

`make manifests` renders them again.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from provisioner import lockfile
from provisioner.model import Layout, Lock
from tests.support import manifests

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = {  # how each deployment's consumers look for a model
    "manifests/onyx": (Layout.HUB,),
    "manifests/qwiser": (Layout.HUB, Layout.SENTENCE_TRANSFORMERS),
    "manifests/kserve-vllm": (Layout.FLAT,),
    "manifests/rag8s-ray": (Layout.HUB,),
    "manifests/compose": (Layout.HUB,),
    "jobs": (Layout.HUB,),
}
IN_CLUSTER = [name for name in LAYOUTS if name != "manifests/compose"]
EXCEPTIONS = {
    "manifests/kserve-vllm": ("openshift",),
    "manifests/qwiser": ("qwiser",),
    "manifests/rag8s-ray": ("ray", "ray token"),
}
UPDATE = os.environ.get("PROVISION_UPDATE_GOLDEN") == "1"
INPUTS = ("provision.toml", "models.lock", "render.sh", "kustomization.yaml")
DOCUMENTS = ("README.md", "Dockerfile", "assemble.sh")


def render(folder: Path) -> None:
    """Run the folder's commands there, with nothing of this machine's environment but where `provision` is."""
    here = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["sh", "-eu", "render.sh"], cwd=folder, env=here, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr


def generated(folder: Path) -> dict[str, str]:
    """Path -> text of what render.sh wrote."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    ours = (path for path in paths if path.parent != folder or path.name not in (*INPUTS, *DOCUMENTS))
    return {str(path.relative_to(folder)): path.read_text() for path in ours}


def lock_for(layouts: tuple[Layout, ...]) -> bytes:
    """The only model pinned here, as one deployment wants it."""
    lock = lockfile.parse((ROOT / "models.lock").read_bytes())
    return lockfile.dump(Lock(tuple(dataclasses.replace(model, layouts=layouts) for model in lock.models)))


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_here_is_what_the_commands_write(name: str, tmp_path: Path) -> None:
    folder = ROOT / name
    if UPDATE:
        (folder / "models.lock").write_bytes(lock_for(LAYOUTS[name]))
        render(folder)
    assert (folder / "models.lock").read_bytes() == lock_for(LAYOUTS[name])
    for file in INPUTS:
        if (folder / file).exists():
            shutil.copy(folder / file, tmp_path)
    render(tmp_path)
    fresh, here = generated(tmp_path), generated(folder)
    assert fresh and sorted(fresh) == sorted(here), "make manifests"
    assert [path for path in fresh if fresh[path] != here[path]] == [], "make manifests"


def objects_of(path: Path) -> list[manifests.Object]:
    return [one for one in manifests.load(path.read_text()) if "apiVersion" in one]


def objects_below(name: str) -> list[manifests.Object]:
    return [one for path in sorted((ROOT / name).rglob("*.yaml")) for one in objects_of(path)]


@pytest.mark.parametrize("name", IN_CLUSTER)
def test_every_object_is_valid_in_old_and_new_clusters(name: str) -> None:
    manifests.validate(objects_below(name))


@pytest.mark.parametrize("name", [name for name in LAYOUTS if (ROOT / name / "kustomization.yaml").exists()])
def test_kustomize_takes_each_base_and_all_together(name: str) -> None:
    whole = manifests.kustomize(ROOT / name)
    bases = [folder.parent for folder in (ROOT / name).glob("*/kustomization.yaml")]
    parts = [one for base in bases for one in manifests.kustomize(base)]
    assert sorted(map(named, whole)) == sorted(map(named, parts))
    assert len(set(map(named, whole))) == len(whole) > 0
    manifests.validate(whole)


def named(one: manifests.Object) -> tuple[str, str, str]:
    return one["apiVersion"], one["kind"], one["metadata"]["name"]


@pytest.mark.parametrize("name", IN_CLUSTER)
def test_every_deployment_keeps_the_policies(name: str) -> None:
    """All objects of a deployment at once: some policies look at what belongs together."""
    objects = [one for one in objects_below(name) if not one["apiVersion"].startswith("kustomize")]
    assert manifests.checkov(objects, *EXCEPTIONS.get(name, ())) == []


@pytest.mark.parametrize("name", IN_CLUSTER)
def test_every_job_is_fenced_in(name: str) -> None:
    """By a NetworkPolicy, which no server of theirs has: see SKIPPED of tests/support/manifests.py."""
    objects = objects_below(name)
    fences = [one["spec"]["podSelector"]["matchLabels"] for one in objects if one["kind"] == "NetworkPolicy"]
    jobs = [one["spec"] for one in objects if one["kind"] == "Job"]
    jobs += [one["spec"]["jobTemplate"]["spec"] for one in objects if one["kind"] == "CronJob"]
    assert jobs
    for job in jobs:
        labels = job["template"]["metadata"]["labels"]
        assert any(fence.items() <= labels.items() for fence in fences)


@pytest.mark.parametrize("name", IN_CLUSTER)
def test_only_the_mirror_job_may_write_models(name: str) -> None:
    for one in objects_below(name):
        for pod in manifests.pods_of(one):
            claims = [v["persistentVolumeClaim"] for v in pod.get("volumes", []) if "persistentVolumeClaim" in v]
            writes = [claim for claim in claims if not claim.get("readOnly")]
            assert not writes or one["metadata"]["labels"]["app.kubernetes.io/component"] == "mirror"
