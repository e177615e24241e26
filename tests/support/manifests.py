"""What the tests ask of emitted YAML: that it is read alike everywhere, valid in old and new clusters, and safe."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml as yaml11
from ruamel.yaml import YAML

from tests.support import kube_tools

Object = dict[str, Any]

# Kinds that no Kubernetes schema describes, and who does.
FOREIGN = {
    "serving.kserve.io/v1beta1/InferenceService": "a CRD of KServe",
    "serving.kserve.io/v1alpha1/ServingRuntime": "a CRD of KServe",
    "ray.io/v1/RayService": "a CRD of KubeRay",
    "monitoring.coreos.com/v1/ServiceMonitor": "a CRD of the Prometheus operator",
    "monitoring.coreos.com/v1/PodMonitor": "a CRD of the Prometheus operator",
    "kustomize.config.k8s.io/v1beta1/Kustomization": "never sent to a cluster",
    "kustomize.config.k8s.io/v1alpha1/Component": "never sent to a cluster",
}

MODEL_KEYS = {"args", "env", "resources", "securityContext", "volumeMounts", "command", "ports"}  # of a container

# Policies of checkov that do not hold for what we emit, and why.
SKIPPED = {
    "CKV2_K8S_6": "who may call a server is its application's to say; every Job has one, see test_manifests.py",
    "CKV_K8S_11": "no CPU limit by default: it throttles, and requests already share the CPU fairly",
    "CKV_K8S_15": "IfNotPresent: images are named by version or digest, and air-gapped nodes have nobody to ask",
    "CKV_K8S_21": "no namespace unless the settings name one: `kubectl -n` and Kustomize choose it",
    "CKV_K8S_35": "credentials are variables: the SDKs of the Hub, S3, MinIO and Azure read nothing else",
    "CKV_K8S_43": "a digest exists once an image was pushed; `image` of the settings takes it",
}
EXCEPT = {  # further ones, of what is emitted for one kind of place or deployment
    "openshift": {"CKV_K8S_40": "the namespace's range of uids is used, which the cluster alone knows"},
    "qwiser": dict.fromkeys(
        ("CKV_K8S_8", "CKV_K8S_9"), "only the site knows the workers' port; port and health set it"
    ),
    "ray": dict.fromkeys(("CKV_K8S_8", "CKV_K8S_9"), "KubeRay puts probes of its own into every Ray container"),
    "ray token": {"CKV_K8S_38": "the autoscaler in the head's pod asks the API server for workers"},
}


def load(text: str) -> list[Object]:
    """The documents of a YAML text, which readers of YAML 1.1 and 1.2 must understand alike."""
    new = YAML(typ="safe", pure=True)
    documents = [one for one in new.load_all(text) if one is not None]
    old = [one for one in yaml11.safe_load_all(text) if one is not None]
    assert json.dumps(old) == json.dumps(documents), "YAML 1.1 and YAML 1.2 read different things"
    return documents


def validate(objects: Iterable[Object], *, newest_only: bool = False) -> None:
    """Asserts that the strictest schema of the oldest and of the newest Kubernetes known takes every object."""
    wrong = [problem for one in objects for problem in problems(one, newest_only=newest_only)]
    assert not wrong, "\n".join(wrong)


def problems(one: Object, *, newest_only: bool = False) -> list[str]:
    """What is wrong with an object; pod templates in the objects of others are looked at as pods."""
    import kubernetes_validate

    found = []
    for document in (*pods_of_others(one), *_containers_of_others(one)) if is_foreign(one) else (one,):
        for version in _versions()[newest_only:]:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError as error:
                found.append(f"{_name(one)}: {error.message}")
            except kubernetes_validate.ValidationError as error:
                place = ".".join(str(part) for part in error.path)
                found.append(f"{_name(one)}: Kubernetes {error.version}: {place}: {error.message}")
    return found


def is_foreign(one: Object) -> bool:
    """Whether a CRD describes it, and not Kubernetes."""
    return f"{one['apiVersion']}/{one['kind']}" in FOREIGN


def pods_of_others(one: Object) -> Iterator[Object]:
    """The pod templates of a CRD's object as pods of their own."""
    for number, template in enumerate(_templates(one)):
        name = f"{one['metadata']['name']}-{number}"
        yield {"apiVersion": "v1", "kind": "Pod", "metadata": template.get("metadata", {}) | {"name": name}} | {
            "spec": template["spec"]
        }


def _containers_of_others(one: Object) -> Iterator[Object]:
    """Containers and volumes that KServe merges with its own, as a pod."""
    parts = [part for part in (one.get("spec", {}), one.get("spec", {}).get("predictor", {})) if isinstance(part, dict)]
    for part in parts:
        model = (
            [{"name": "model"} | {k: part["model"][k] for k in MODEL_KEYS & set(part["model"])}]
            if "model" in part
            else []
        )
        containers = [*part.get("containers", []), *model]
        if containers:
            known = {key: part[key] for key in ("volumes", "securityContext", "initContainers") if key in part}
            spec = known | {"containers": containers}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": one["metadata"]["name"]}, "spec": spec}


def pods_of(one: Object) -> Iterator[Object]:
    """Every pod spec in an object."""
    if one["kind"] == "Pod":
        yield one["spec"]
    yield from (template["spec"] for template in _templates(one.get("spec", {})))


def kustomize(folder: Path | str) -> list[Object]:
    """What `kubectl apply -k` would send."""
    return load(kube_tools.kubectl("kustomize", str(folder)))


def helm(*arguments: str) -> str:
    """What helm prints. Raises CalledProcessError, what it said in `stderr`."""
    _need_tools()
    return kube_tools.helm(*arguments)


def checkov(what: str | Path | Sequence[Object], *exceptions: str) -> list[str]:
    """The policies that a text, a file or objects fail, but for those of SKIPPED: `CKV_K8S_8 Pod.default.a: ...`.

    Exceptions are keys of EXCEPT.
    """
    skipped = {*SKIPPED, *(rule for key in exceptions for rule in EXCEPT[key])}
    _need_tools()
    text = what if isinstance(what, str) else what.read_text() if isinstance(what, Path) else _dump(what)
    extra = [pod for one in load(text) if is_foreign(one) for pod in pods_of_others(one)]
    with tempfile.TemporaryDirectory(prefix="provisioner-checkov-") as folder:
        path = Path(folder) / "objects.yaml"
        path.write_text(text + "".join(f"---\n{_dump([one])}" for one in extra))
        found = kube_tools.checkov().failures(path)
    return [f"{one['id']} {one['resource']}: {one['name']}" for one in found if one["id"] not in skipped]


def _dump(objects: Sequence[Object]) -> str:
    return yaml11.safe_dump_all(objects, sort_keys=False)


def _templates(value: Any) -> Iterator[Object]:
    if isinstance(value, dict):
        if isinstance(spec := value.get("spec"), dict) and "containers" in spec and "kind" not in value:
            yield value
        else:
            for one in value.values():
                yield from _templates(one)
    elif isinstance(value, list):
        for one in value:
            yield from _templates(one)


def _name(one: Object) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


@cache
def _versions() -> tuple[str, str]:
    from kubernetes_validate import utils

    utils.schema_contents = cache(utils.schema_contents)  # else it reads 2 MB of JSON for each object
    versions = utils.all_versions()
    return versions[0], versions[-1]


def _need_tools() -> None:
    if reason := kube_tools.cannot_check():
        pytest.skip(reason)
