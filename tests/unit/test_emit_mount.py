"""`provision emit mount`: every form, and what `--write` does to files as people keep them."""

from __future__ import annotations

import json
import shutil
import subprocess
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.mount import mount, reader
from provisioner.emit.kubernetes.names import Name, Subdomain
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Claim, Separate
from provisioner.emit.mounts import forms
from provisioner.emit.mounts.service import bind
from provisioner.emit.mounts.write import Choice, written
from provisioner.emit.yaml import dump
from provisioner.errors import InvalidInput, NotFound, ProvisionError, UsageError
from provisioner.model import Layout
from tests.support import manifests
from tests.support.faults_process import Done, provision
from tests.support.kube_tools import kubectl
from tests.support.locks import document, small, with_layouts, write

HUB = (Layout.HUB,)
CONTAINERS = [{"name": "main", "image": "x"}, {"name": "side", "image": "y"}]


def facts(*layouts: Layout, changed: bytes = b"{}") -> Facts:
    one = document(with_layouts(small(config=changed), *(layouts or HUB)))
    return Facts.of(one.lock, one.text, one.digest)


def put(
    text: str, *, of: Facts | None = None, choice: Choice | None = None, path: str | None = None, **more: Any
) -> str:
    return put_noted(text, of=of, choice=choice, path=path, **more)[0]


def put_noted(
    text: str, *, of: Facts | None = None, choice: Choice | None = None, path: str | None = None, **more: Any
) -> tuple[str, tuple[str, ...]]:
    of = of or facts()
    one = mount(Settings(), of, "models", path, **more)
    at = one.mounts[0]
    made = bind("/srv/models", at["subPath"], at["mountPath"], one.environment, one.release, 2**30)
    done = written("file.yaml", text, one, lambda: made, choice or Choice())
    again = written("file.yaml", done.text, one, lambda: made, choice or Choice())
    assert (again.text, again.notes) == (done.text, ())
    return done.text, done.notes


def manifest(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")


def pod_of(one: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = one["spec"]
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    return spec.get("template", one)


DEPLOYMENT = manifest(
    """
    # who owns this: search
    apiVersion: apps/v1
    kind: Deployment
    metadata:   {name: api}
    spec:
      selector: {matchLabels: {app: api}}
      template:
        metadata:
          labels: {app: api}   # by hand
        spec:
          containers:
          - name: main
            image:   'registry/api:1'   # pinned elsewhere
            env:
              # the old place
              - name: HF_HOME
                value: '/app/.cache'   # why
              - name: PORT
                value: "9000"

          # the end
    """
)


def test_only_the_lines_of_the_mount_change() -> None:
    after = put(DEPLOYMENT)
    lines = after.splitlines()
    kept = [line for line in DEPLOYMENT.splitlines() if "HF_HOME" not in line and "/app/.cache" not in line]
    assert [line for line in lines if line in kept] == kept
    assert "            value: '/scratch/hf'   # why" in lines
    (one,) = manifests.load(after)
    manifests.validate([one])
    pod = pod_of(one)
    assert pod["metadata"]["annotations"] == {"model-provisioner/release": facts().release}
    assert pod["spec"]["containers"][0]["volumeMounts"] == [
        {"name": "models", "mountPath": "/models", "subPath": f"releases/{facts().release}", "readOnly": True},
        {"name": "scratch", "mountPath": "/scratch"},
    ]
    assert pod["spec"]["volumes"][0] == {
        "name": "models",
        "persistentVolumeClaim": {"claimName": "models", "readOnly": True},
    }


def test_another_release_takes_the_place_of_the_old_one() -> None:
    old, new = facts(), facts(changed=b'{"a": 1}')
    before = put(DEPLOYMENT, of=old, wait=60)
    after = put(before, of=new, wait=60)
    assert after.replace('"', "") == before.replace(old.release, new.release).replace('"', "")
    assert old.release != new.release


def test_variables_of_a_layout_that_the_lock_has_no_more_go() -> None:
    before = put(DEPLOYMENT, of=facts(Layout.FASTEMBED))
    after, notes = put_noted(before, of=facts(Layout.HUGGINGFACE))
    names = [one["name"] for one in pod_of(manifests.load(after)[0])["spec"]["containers"][0]["env"]]
    assert "FASTEMBED_CACHE_PATH" not in names and "HF_HUB_CACHE" in names
    assert notes == ("Deployment/api: removed FASTEMBED_CACHE_PATH, which this release has no use for.",)


def test_somebody_elses_pointer_that_lies_elsewhere_stays() -> None:
    text = DEPLOYMENT.replace("HF_HOME", "FASTEMBED_CACHE_PATH")
    assert "'/app/.cache'   # why" in put(text, of=facts(Layout.HUGGINGFACE))


def test_another_path_moves_the_mount() -> None:
    after = put(put(DEPLOYMENT), path="/opt/models")
    container = pod_of(manifests.load(after)[0])["spec"]["containers"][0]
    assert [one["mountPath"] for one in container["volumeMounts"]] == ["/opt/models", "/scratch"]
    assert {one["value"] for one in container["env"] if one["name"] == "HF_HUB_CACHE"} == {"/opt/models/hub"}


def test_one_flat_model_and_no_cache() -> None:
    of = facts(Layout.HUB, Layout.FLAT)
    (one,) = manifests.load(put(put(DEPLOYMENT, of=of), of=of, model="small"))
    container = pod_of(one)["spec"]["containers"][0]
    assert container["volumeMounts"][0]["subPath"] == f"releases/{of.release}/models/small"
    names = {variable["name"] for variable in container["env"]}
    assert names.isdisjoint({"HF_HUB_CACHE", "SENTENCE_TRANSFORMERS_HOME", "FASTEMBED_CACHE_PATH"})
    assert {"HF_HUB_OFFLINE", "HOME", "TMPDIR"} <= names


def test_a_model_that_is_not_flat_says_how_to_get_it() -> None:
    with pytest.raises(NotFound) as refused:
        mount(Settings(), facts(), "models", model="small")
    assert "--layout flat" in refused.value.hint


def test_the_wait_comes_first_and_goes_when_it_is_not_asked_for() -> None:
    text = DEPLOYMENT + "      initContainers:\n        - {name: own, image: z}  # mine\n"
    waiting = put(text, wait=600)
    pod = pod_of(manifests.load(waiting)[0])
    manifests.validate(manifests.load(waiting))
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["wait-for-models", "own"]
    first = pod["spec"]["initContainers"][0]
    assert first["args"][:5] == ["verify", "--at", "pvc", "--release", facts().release]
    assert {"name": "models", "mountPath": "/mnt/models", "readOnly": True} in first["volumeMounts"]
    after, notes = put_noted(waiting)
    assert [one["name"] for one in pod_of(manifests.load(after)[0])["spec"]["initContainers"]] == ["own"]
    assert notes == ("Deployment/api: removed the init container wait-for-models: no --wait.",)
    assert "# mine" in after
    alone = put(put(DEPLOYMENT, wait=600))
    assert "initContainers" not in alone


# Ways to write YAML


@pytest.mark.parametrize("indent", [None, 2])
def test_json(indent: int | None) -> None:
    text = json.dumps(manifests.load(DEPLOYMENT)[0], indent=indent)
    after = put(text)
    assert json.loads(after) == manifests.load(put(DEPLOYMENT))[0]
    assert ("\n" in after) == (indent is not None)


def test_a_list_as_kubectl_prints_it() -> None:
    text = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": [{"kind": "ConfigMap"}, *manifests.load(DEPLOYMENT)]}
    )
    assert json.loads(put(text))["items"][1] == manifests.load(put(DEPLOYMENT))[0]


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text, str.rstrip])
def test_line_ends_and_marks_stay(change: Any) -> None:
    assert put(change(DEPLOYMENT)).rstrip() == change(put(DEPLOYMENT)).rstrip()


def test_a_block_of_text_keeps_its_empty_lines() -> None:
    text = DEPLOYMENT.replace('value: "9000"\n', "value: |+\n                  a\n\n")
    (before,), (after,) = manifests.load(text), manifests.load(put(text))
    assert pod_of(after)["spec"]["containers"][0]["env"][1] == pod_of(before)["spec"]["containers"][0]["env"][1]


@pytest.mark.parametrize("empty", ["", " # none yet", " []", " [] # none yet", " null", " ~"])
def test_a_list_that_is_there_and_empty(empty: str) -> None:
    text = DEPLOYMENT.replace("      containers:", f"      volumes:{empty}\n      containers:")
    after = put(text)
    assert manifests.load(after) == manifests.load(put(DEPLOYMENT))
    assert after.count("# none yet") == empty.count("# none yet")


def test_an_anchor_that_is_used_elsewhere_is_left_alone() -> None:
    text = DEPLOYMENT.replace("env:\n", "env: &shared\n") + "    more: *shared\n"
    with pytest.raises(InvalidInput) as refused:
        put(text)
    assert str(refused.value).startswith("file.yaml, line 14: an anchor is used here")
    assert "--form" in refused.value.hint


def test_an_anchor_beside_it_is_no_obstacle() -> None:
    text = DEPLOYMENT.replace("image:   'registry/api:1'", "image: &image registry/api:1")
    text += "      initContainers: [{name: own, image: *image}]\n"
    assert "&image registry/api:1   # pinned elsewhere" in put(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{- if .Values.x }}\na: 1\n", "file.yaml is not YAML at line 1."),
        ("a: [\n", "file.yaml is not YAML at line 2."),
        ("a: 1\na: 2\n", "file.yaml, line 2: has the key a for the second time."),
        ("a: &a [*a]\n", "file.yaml, line 1: holds itself."),
        ("kind: ConfigMap\n", "file.yaml has no pod template and no Compose service."),
        ("", "file.yaml has no pod template and no Compose service."),
        ("services: {a: 1}\n", "The service a is no mapping."),
        ("kind: Pod\nspec: {containers: [{name: a}], volumes: {}}\n", "Pod/: volumes is no list."),
    ],
)
def test_what_cannot_be_changed_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        put(text)
    assert str(refused.value) == said


# Which workload, which container


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Rollout"])
def test_any_kind_with_a_pod_template(kind: str) -> None:
    assert manifests.load(put(DEPLOYMENT.replace("Deployment", kind)))[0]["kind"] == kind


def test_a_pod_and_a_cron_job() -> None:
    pod = dump([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": CONTAINERS[:1]}}])
    (one,) = manifests.load(put(pod))
    manifests.validate([one])
    assert one["metadata"]["annotations"] == {"model-provisioner/release": facts().release}
    template = {"spec": {"containers": CONTAINERS[:1], "restartPolicy": "Never"}}
    spec = {"schedule": "@daily", "jobTemplate": {"spec": {"template": template}}}
    job = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "a"}, "spec": spec}
    (one,) = manifests.load(put(dump([job])))
    manifests.validate([one])
    assert pod_of(one)["metadata"]["annotations"]


def two(**names: str) -> str:
    def one(kind: str, name: str) -> dict[str, Any]:
        spec = {"template": {"spec": {"containers": CONTAINERS}}}
        return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}

    return dump([one(kind, name) for kind, name in names.items()])


@pytest.mark.parametrize(
    ("workload", "container", "error", "hint"),
    [
        (None, "main", UsageError, "Choose: --workload Deployment/a | StatefulSet/a"),
        ("a", "main", UsageError, "Choose: --workload Deployment/a | StatefulSet/a"),
        ("b", "main", NotFound, "Choose: --workload Deployment/a | StatefulSet/a"),
        ("job/a", "main", NotFound, "Choose: --workload Deployment/a | StatefulSet/a"),
        ("deployment/a", None, UsageError, "Choose: --container main | side"),
        ("deployment/a", "other", NotFound, "Choose: --container main | side"),
    ],
)
def test_what_is_meant_has_to_be_clear(
    workload: str | None, container: str | None, error: type[ProvisionError], hint: str
) -> None:
    with pytest.raises(error) as refused:
        put(two(Deployment="a", StatefulSet="a"), choice=Choice(workload, container))
    assert refused.value.hint == hint


def test_only_the_one_that_is_meant_changes() -> None:
    text = two(Deployment="a", StatefulSet="a")
    after = put(text, choice=Choice("statefulset/a", "side"))
    assert after.split("---")[0] == text.split("---")[0]
    first, second = manifests.load(after)[1]["spec"]["template"]["spec"]["containers"]
    assert first == CONTAINERS[0]
    assert second["volumeMounts"]
    both = put(after, choice=Choice("statefulset/a", "main"))
    assert all(one["volumeMounts"] for one in manifests.load(both)[1]["spec"]["template"]["spec"]["containers"])


# What is somebody else's

TAKEN = manifest(
    """
    kind: Deployment
    metadata: {name: api}
    spec:
      template:
        spec:
          containers:
            - name: main
              volumeMounts:
                - name: cache
                  mountPath: /models/
                - name: cache
                  mountPath: /models/extra
                - {name: data, mountPath: /data}
          volumes:
            - name: cache
              emptyDir: {}
            - name: data
              emptyDir: {}
            - persistentVolumeClaim: {claimName: theirs}
              name: models
    """
)


def test_a_conflict_names_what_is_there() -> None:
    with pytest.raises(UsageError) as refused:
        put(TAKEN)
    assert str(refused.value) == "Deployment/api has the volume cache mounted at /models."
    assert "--replace" in refused.value.hint
    with pytest.raises(UsageError) as refused:
        put(TAKEN, path="/elsewhere")
    assert str(refused.value) == "Deployment/api has a volume models of its own (persistentVolumeClaim theirs)."
    with pytest.raises(UsageError) as refused:
        put(TAKEN.replace("/models/\n", "/models-a\n"))
    assert str(refused.value) == "Deployment/api has the volume cache mounted at /models/extra."


def test_replace_takes_the_place() -> None:
    after, notes = put_noted(TAKEN, choice=Choice(replace=True))
    spec = pod_of(manifests.load(after)[0])["spec"]
    assert [one["mountPath"] for one in spec["containers"][0]["volumeMounts"]] == ["/models", "/data", "/scratch"]
    assert [one["name"] for one in spec["volumes"]] == ["data", "models", "scratch"]
    assert spec["volumes"][1]["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    assert [note.removeprefix("Deployment/api: ") for note in notes] == [
        "replaced the volume cache mounted at /models.",
        "replaced the volume cache mounted at /models/extra.",
        "removed the volume cache, which nothing mounts any more.",
        "replaced a volume models of its own (persistentVolumeClaim theirs).",
    ]


def test_a_volume_that_something_else_mounts_stays() -> None:
    init = "      initContainers: [{name: i, volumeMounts: [{name: cache, mountPath: /c}]}]\n"
    text = TAKEN.replace("      volumes:\n", f"{init}      volumes:\n")
    spec = pod_of(manifests.load(put(text, choice=Choice(replace=True)))[0])["spec"]
    assert "cache" in [one["name"] for one in spec["volumes"]]


def test_a_variable_from_elsewhere_is_replaced_and_told() -> None:
    source = "valueFrom:\n                  configMapKeyRef: {name: a, key: b}"
    after, notes = put_noted(DEPLOYMENT.replace("value: '/app/.cache'", source))
    assert "valueFrom" not in after
    assert notes == ("Deployment/api: HF_HOME came from elsewhere (configMapKeyRef) and is a plain value now.",)


@pytest.mark.parametrize("path", ["models", "/", "/a/../b", "/scratch", "/scratch/models", "/a b"])
def test_a_path_that_cannot_be(path: str) -> None:
    with pytest.raises(UsageError):
        mount(Settings(), facts(), "models", path)


def test_which_claim() -> None:
    separate = Separate((Name("inference"), Name("indexing")))
    assert reader(Claim(Subdomain("writer"), Subdomain("readers")), "pvc") == "readers"
    assert reader(Claim(Subdomain("writer")), "pvc", "another") == "another"
    assert reader(separate, "two", "indexing") == "indexing"
    for claim, error in ((None, UsageError), ("other", NotFound)):
        with pytest.raises(error) as refused:
            reader(separate, "two", claim)
        assert refused.value.hint == "Choose: --claim inference | indexing"
    with pytest.raises(UsageError):
        reader(Claim(Subdomain("writer")), "pvc", "No_Name")


# Compose

COMPOSE = manifest(
    """
    x-base: &base
      restart: always
      environment: {LOG: info}
    services:
      # the API
      api:
        image: api   # ours
        volumes:
          - cache:/app/.cache
        environment:
          - HF_HOME=/app/.cache
          - LOG_LEVEL
      indexing:
        <<: *base
        image: api
    volumes:
      cache:
    """
)


def test_a_compose_service() -> None:
    after = put(COMPOSE, choice=Choice("api"))
    assert after.startswith(COMPOSE[: COMPOSE.index("      - cache")])
    assert after.endswith(COMPOSE[COMPOSE.index("  indexing:") :])
    service = manifests.load(after)[0]["services"]["api"]
    assert service["volumes"][1]["source"] == f"/srv/models/releases/{facts().release}"
    assert service["volumes"][1]["read_only"] is True
    assert service["tmpfs"] == ["/scratch:mode=1777,exec,size=1073741824"]
    assert service["environment"][:3] == ["HF_HOME=/scratch/hf", "LOG_LEVEL", "HF_HUB_CACHE=/models/hub"]
    new = facts(changed=b'{"a": 1}')
    assert put(after, of=new, choice=Choice("service/api")) == after.replace(facts().release, new.release)


def test_what_a_service_has_from_an_anchor_is_not_hidden() -> None:
    with pytest.raises(InvalidInput, match="comes from an anchor"):
        put(COMPOSE, choice=Choice("indexing"))


@pytest.mark.parametrize("volume", ["cache:/models", "cache:/models/sub:ro", "${DIR:-./x}:/models", "/scratch"])
def test_a_conflict_in_a_service(volume: str) -> None:
    text = COMPOSE.replace("cache:/app/.cache", volume)
    with pytest.raises(UsageError, match="service/api has the volume"):
        put(text, choice=Choice("api"))
    assert f"- {volume}\n" not in put(text, choice=Choice("api", replace=True))


def test_a_dollar_in_the_stores_path_is_no_variable() -> None:
    assert bind("/srv/$x/", "releases/a", "/models", {}, "a", 1).volume["source"] == "/srv/$$x/releases/a"


# Forms


def labelled(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "app", "labels": {"model-provisioner/mount": "true"}}
    template = {"metadata": {"labels": {"app": "x"}}, "spec": spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata} | {
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template}
    }


def kustomized(folder: Path, made: dict[str, Any], text: str) -> list[dict[str, Any]]:
    component(folder, made, text)
    return manifests.kustomize(folder / "app")


def component(folder: Path, made: dict[str, Any], text: str) -> None:
    for name, files in {"component": made, "app": {}}.items():
        (folder / name).mkdir()
        for file, one in files.items():
            (folder / name / file).write_text(dump([one]))
    (folder / "app" / "app.yaml").write_text(text)
    index = {"resources": ["app.yaml"], "components": ["../component"], "namePrefix": "a-", "namespace": "search"}
    (folder / "app" / "kustomization.yaml").write_text(dump([index]))


QUOTED = manifest(
    """
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: app, labels: {model-provisioner/mount: "true"}}
    spec:
      selector: {matchLabels: {app: x}}
      template:
        metadata: {labels: {app: x}}
        spec:
          containers:
            - name: whatever
              image: x
              env:
                - name: "HOME" # quoted
                  value: /root
                - name: HF_HOME # where
                  valueFrom: {configMapKeyRef: {name: a, key: b}}
                - name: OWN
                  value: "1"
              volumeMounts:
                - mountPath: '/data'
                  name: data
          volumes:
            - name: data
              emptyDir: {}
    """
)


@pytest.mark.parametrize("path", ["/models", "/a_b.c@d+e-f"])
def test_the_component_needs_no_containers_name(tmp_path: Path, path: str) -> None:
    """Kustomize finds list entries by patterns: HOME must not be found in HF_HOME, and "HOME" has to be found."""
    one = mount(Settings(), facts(), "models", path, wait=60)
    bare = dump([labelled(containers=CONTAINERS) | {"kind": "StatefulSet"}])
    made = kustomized(tmp_path, forms.component(Settings(), one, None), f"{QUOTED}---\n{bare}")
    assert len(made) == 2
    manifests.validate(
        [one | {"spec": {**one["spec"], "serviceName": "x"}} if one["kind"] == "StatefulSet" else one for one in made]
    )
    for workload in made:
        pod = pod_of(workload)
        container, *others = pod["spec"]["containers"]
        environment = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert len(environment) == len(container["env"])
        assert {key: value for key, value in environment.items() if key != "OWN"} == one.environment
        assert not any("valueFrom" in variable for variable in container["env"])
        assert [m for m in container["volumeMounts"] if m["name"] != "data"] == list(one.mounts)
        assert [v for v in pod["spec"]["volumes"] if v["name"] != "data"] == list(one.volumes)
        assert pod["spec"]["initContainers"] == list(one.init)
        assert pod["metadata"]["annotations"] == one.annotations
        assert others in ([], CONTAINERS[1:])


def test_the_component_leaves_what_has_no_label(tmp_path: Path) -> None:
    one = mount(Settings(), facts(), "models")
    plain = labelled(containers=CONTAINERS)
    del plain["metadata"]["labels"]
    (after,) = kustomized(tmp_path, forms.component(Settings(), one, None), dump([plain]))
    assert after["spec"] == plain["spec"]


def test_the_component_for_another_container_and_kind(tmp_path: Path) -> None:
    one = mount(Settings(), facts(), "models")
    spec = labelled(containers=CONTAINERS, restartPolicy="Never")
    job = {"schedule": "@daily", "jobTemplate": {"spec": {"template": spec["spec"]["template"]}}}
    text = dump([spec | {"apiVersion": "batch/v1", "kind": "CronJob", "spec": job}])
    (after,) = kustomized(tmp_path, forms.component(Settings(), one, "side"), text)
    manifests.validate([after])
    first, second = pod_of(after)["spec"]["containers"]
    assert first == CONTAINERS[0]
    assert second["volumeMounts"] == list(one.mounts)


@pytest.mark.parametrize("release", ["123412341234", "123456789e12", "012341234123"])
def test_a_release_that_looks_like_a_number_stays_text(tmp_path: Path, release: str) -> None:
    one = replace(mount(Settings(), facts(), "models"), release=release)
    component(tmp_path, forms.component(Settings(), one, None), QUOTED)
    (tmp_path / "made.yaml").write_text(kubectl("kustomize", str(tmp_path / "app")))
    read = json.loads(kubectl("label", "--local", "-f", str(tmp_path / "made.yaml"), "a=b", "-o", "json"))
    assert pod_of(read)["metadata"]["annotations"]["model-provisioner/release"] == release


@pytest.mark.parametrize("workload", ["app", "deployment/app"])
def test_the_patch_as_kubectl_and_kustomize_apply_it(tmp_path: Path, workload: str) -> None:
    one = mount(Settings(), facts(), "models", wait=60)
    (tmp_path / "app.yaml").write_text(dump([labelled(containers=CONTAINERS)]))
    (tmp_path / "patch.yaml").write_text(dump([forms.patch(Settings(), one, workload, "side")]))
    index = {"resources": ["app.yaml"], "patches": [{"path": "patch.yaml"}]}
    (tmp_path / "kustomization.yaml").write_text(dump([index]))
    where = ("-f", str(tmp_path / "app.yaml"), "--patch-file", str(tmp_path / "patch.yaml"))
    by_kubectl = manifests.load(kubectl("patch", "--local", *where, "-o", "yaml"))
    for (after,) in (by_kubectl, manifests.kustomize(tmp_path)):
        manifests.validate([after])
        pod = pod_of(after)
        containers = {container["name"]: container for container in pod["spec"]["containers"]}
        assert containers["main"] == CONTAINERS[0]
        assert containers["side"]["volumeMounts"] == list(one.mounts)
        assert {v["name"]: v["value"] for v in containers["side"]["env"]} == one.environment
        assert pod["metadata"]["annotations"] == one.annotations


@pytest.mark.parametrize("kind", sorted(forms.API_VERSIONS))
def test_a_patch_for_every_kind(kind: str) -> None:
    one = mount(Settings(namespace=Name("search")), facts(), "models")
    patch = forms.patch(Settings(namespace=Name("search")), one, f"{kind.lower()}/app", "main")
    assert (patch["kind"], patch["metadata"]["name"], patch["metadata"]["namespace"]) == (kind, "app", "search")
    assert pod_of(patch)["spec"]["containers"][0]["volumeMounts"] == list(one.mounts)
    assert pod_of(patch)["metadata"]["annotations"] == one.annotations


@pytest.mark.parametrize("workload", ["service/app", "deployment/", "a/b/c"])
def test_a_patch_for_something_else(workload: str) -> None:
    with pytest.raises(UsageError):
        forms.patch(Settings(), mount(Settings(), facts(), "models"), workload, "main")


# The command


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write(tmp_path, small())
    (tmp_path / "app.yaml").write_text(DEPLOYMENT)
    return tmp_path


def emit(place: Path, *arguments: object) -> Done:
    return provision("emit", "mount", *arguments, cwd=place, HOME=str(place))


def test_write_and_dry_run(place: Path) -> None:
    shown = emit(place, "--write", "app.yaml", "--dry-run")
    assert (shown.code, (place / "app.yaml").read_text()) == (0, DEPLOYMENT)
    (place / "app.yaml").chmod(0o640)
    done = emit(place, "--write", "app.yaml")
    assert (done.code, done.out) == (0, "")
    assert (place / "app.yaml").stat().st_mode & 0o777 == 0o640
    after = (place / "app.yaml").read_text()
    if shutil.which("patch"):
        (place / "copy.yaml").write_text(DEPLOYMENT)
        subprocess.run(["patch", "-s", "copy.yaml"], cwd=place, input=shown.out, text=True, check=True)
        assert (place / "copy.yaml").read_text() == after
    again = emit(place, "--write", "app.yaml", "--json")
    assert again.json["changed"] is False
    assert again.json["workload"] == "Deployment/api, container main"
    assert (place / "app.yaml").read_text() == after
    assert emit(place, "--write", "app.yaml", "--dry-run").out == ""


def test_forms_on_stdout(place: Path) -> None:
    release = emit(place, "--form", "helm", "--json").json["podAnnotations"]["model-provisioner/release"]
    (snippet,) = manifests.load(emit(place).out)
    assert set(snippet) == {"annotations", "volumes", "volumeMounts", "env"}
    (values,) = manifests.load(emit(place, "--form", "helm").out)
    assert values["extraVolumeMounts"] == snippet["volumeMounts"]
    assert values["extraEnv"] == snippet["env"]
    (override,) = manifests.load(emit(place, "--form", "compose", "--workload", "api", "--store", "models").out)
    volume = override["services"]["api"]["volumes"][0]
    assert volume["source"] == f"{place}/models/releases/{release}"
    assert override["services"]["api"]["environment"] == {one["name"]: one["value"] for one in snippet["env"]}
    patch = emit(place, "--form", "patch", "--workload", "api", "--container", "main", "--json").json
    assert pod_of(patch)["spec"]["containers"][0]["env"] == snippet["env"]


def test_the_component_is_a_folder(place: Path) -> None:
    done = emit(place, "--form", "component", "-o", "models")
    assert done.code == 0, done.err
    assert sorted(path.name for path in (place / "models").glob("*.yaml")) == ["kustomization.yaml", "mount.yaml"]
    (place / "app.yaml").write_text(QUOTED)
    (place / "kustomization.yaml").write_text("resources: [app.yaml]\ncomponents: [models]\n")
    manifests.validate(manifests.kustomize(place))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--form", "helm", "--write", "app.yaml"), 2),
        (("--dry-run",), 2),
        (("--replace",), 2),
        (("--form", "component"), 2),
        (("-o", "x"), 2),
        (("--form", "patch"), 2),
        (("--form", "patch", "--workload", "a"), 2),
        (("--form", "compose"), 2),
        (("--form", "compose", "--workload", "a", "--wait", "5"), 2),
        (("--path", "relative"), 2),
        (("--to", "nowhere"), 7),
        (("--write", "missing.yaml"), 7),
        (("--write", "models.lock"), 4),
        (("--model", "small"), 7),
    ],
)
def test_what_is_refused(place: Path, arguments: tuple[str, ...], code: int) -> None:
    done = emit(place, *arguments)
    assert (done.code, done.out) == (code, "")
    assert "Traceback" not in done.err


def test_a_pod_needs_no_home(place: Path) -> None:
    """The local store is asked for only where a Compose file wants it."""
    assert provision("emit", "mount", "--write", "app.yaml", cwd=place, HOME="").code == 0


def test_a_target_with_a_claim_for_each_consumer(place: Path) -> None:
    (place / "provision.toml").write_text('[targets.two]\nkind = "rwo"\nclaims = ["inference", "indexing"]\n')
    refused = emit(place, "--to", "two")
    assert (refused.code, "--claim inference | indexing" in refused.err) == (2, True)
    (snippet,) = manifests.load(emit(place, "--to", "two", "--claim", "indexing").out)
    assert snippet["volumes"][0]["persistentVolumeClaim"]["claimName"] == "indexing"
