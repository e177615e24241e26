"""The tools that judge emitted YAML find what they are there for: a check that never fails proves nothing."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path

import pytest

from tests.support import kube_tools, manifests

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: one
  namespace: here
spec:
  containers:
    - name: one
      image: registry.example/one:1
"""
RAY = {
    "apiVersion": "ray.io/v1",
    "kind": "RayService",
    "metadata": {"name": "ray"},
    "spec": {"rayClusterConfig": {"headGroupSpec": {"template": {"spec": {"containers": [{"name": "head"}]}}}}},
}


def pod() -> dict:
    return manifests.load(POD)[0]


def test_a_valid_pod_passes() -> None:
    manifests.validate([pod()])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"unknown": 1}, "unknown"),
        ({"containers": [{"name": "one", "image": 7}]}, "7 is not"),
        ({"restartPolicy": ["Never"]}, "restartPolicy"),
    ],
)
def test_what_is_not_of_the_schema_is_found_in_old_and_new_clusters(change: dict, says: str) -> None:
    broken = pod()
    broken["spec"] |= change
    found = manifests.problems(broken)
    assert len(found) == 2 and all(says in one for one in found)
    assert "1.25" in found[0] and "1.37" in found[1]


def test_a_field_that_old_clusters_do_not_know_is_found() -> None:
    newer = pod()
    newer["spec"]["hostnameOverride"] = "one"
    (found,) = manifests.problems(newer)
    assert "1.25" in found


def test_an_unknown_kind_is_a_problem_unless_it_is_listed() -> None:
    assert manifests.problems({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "one"}})


def test_pods_in_the_objects_of_others_are_looked_at() -> None:
    manifests.validate([RAY])
    broken = copy.deepcopy(RAY)
    broken["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["contaners"] = []
    assert "contaners" in manifests.problems(broken)[0]
    assert any("CKV_K8S_22" in one and "ray-0" in one for one in manifests.checkov([RAY]))


def test_what_yaml_readers_disagree_about_is_found() -> None:
    with pytest.raises(AssertionError, match=r"YAML 1\.1"):
        manifests.load("switch: on\n")


def test_checkov_finds_what_it_should_and_no_more() -> None:
    found = manifests.checkov(POD)
    for rule in ("CKV_K8S_20", "CKV_K8S_22", "CKV_K8S_38", "CKV_K8S_13"):
        assert any(one.startswith(f"{rule} Pod.here.one") for one in found)
    assert not {one.split()[0] for one in found} & set(manifests.SKIPPED)


def test_checkov_does_not_pass_what_it_cannot_read(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(POD + "  [")
    if reason := kube_tools.cannot_check():
        pytest.skip(reason)
    with pytest.raises(RuntimeError, match="could not look at"):
        kube_tools.checkov().failures(broken)


def test_kustomize_joins_a_folder(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(POD)
    (tmp_path / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [pod.yaml]\nnamespace: there\n"
    )
    (found,) = manifests.kustomize(tmp_path)
    assert found["metadata"] == {"name": "one", "namespace": "there"}


def test_helm_says_what_is_wrong(tmp_path: Path) -> None:
    assert manifests.helm("version", "--short").startswith("v4.")
    with pytest.raises(subprocess.CalledProcessError) as error:
        manifests.helm("template", str(tmp_path / "none"))
    assert "none" in error.value.stderr
