"""However a manifest is written: only what is ours changes in it, and a second run changes nothing."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from provisioner.emit.environment import POINTERS
from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.mount import Mount, mount
from provisioner.emit.kubernetes.objects import RELEASE
from provisioner.emit.kubernetes.settings import read
from provisioner.emit.mounts.service import Bind, bind
from provisioner.emit.mounts.write import Choice, Written, written
from provisioner.errors import UsageError
from provisioner.model import Layout
from tests.support.locks import document, small, with_layouts
from tests.support.settings_strategies import kubernetes
from tests.support.yaml_styles import Hand

Object = dict[str, Any]
NAMES = st.sampled_from(["api", "worker", "cache", "data", "x-1"])
PATHS = st.sampled_from(["/data", "/var/cache", "/models-old", "/opt/a.b", "/modelsx"])
VARIABLES = st.sampled_from(["PORT", "LOG_LEVEL", "OWN", "HF_TOKEN", "A"])
OURS = st.sampled_from(["HF_HOME", "HOME", "HF_HUB_OFFLINE", "FASTEMBED_CACHE_PATH", "TMPDIR"])
VALUES = st.sampled_from(["plain", "9000", "/app/.cache", "", "yes", "a: b", "it's", "#no", "tail "])
FROM = st.just({"secretKeyRef": {"name": "s", "key": "token"}})


@cache
def facts(*layouts: Layout) -> Facts:
    one = document(with_layouts(small(), *layouts))
    return Facts.of(one.lock, one.text, one.digest)


def unique(strategy: st.SearchStrategy[Object], *keys: str, most: int = 3) -> st.SearchStrategy[list[Object]]:
    return st.lists(strategy, max_size=most, unique_by=lambda one: tuple(one[key] for key in keys))


@st.composite
def variables(draw: st.DrawFn) -> list[Object]:
    names = draw(st.lists(VARIABLES | OURS, max_size=4, unique=True))
    return [
        {"name": one} | draw(st.fixed_dictionaries({"value": VALUES}) | st.fixed_dictionaries({"valueFrom": FROM}))
        for one in names
    ]


@st.composite
def pods(draw: st.DrawFn) -> Object:
    """A pod's spec whose first container is called `main`."""
    sources = st.sampled_from([{"emptyDir": {}}, {"persistentVolumeClaim": {"claimName": "other"}}, {"hostPath": None}])
    volumes = [{"name": name} | draw(sources) for name in draw(st.lists(NAMES, max_size=3, unique=True))]
    container: Object = {"name": "main", "image": "registry/x:1.0"}
    parts: dict[str, Any] = {
        "env": draw(variables()),
        "volumeMounts": draw(unique(st.fixed_dictionaries({"name": NAMES, "mountPath": PATHS}), "mountPath")),
        "args": draw(st.lists(VALUES, max_size=2)),
    }
    for key in draw(st.permutations(sorted(parts))):
        if parts[key] or draw(st.booleans()):
            container[key] = draw(st.sampled_from([parts[key], parts[key] or None]))
    spec: Object = {"containers": [container]}
    if draw(st.booleans()):
        spec["containers"].append({"name": "side", "image": "y"})
    if volumes or draw(st.booleans()):
        spec["volumes"] = volumes
    if draw(st.booleans()):
        spec["initContainers"] = [{"name": "own", "image": "z", "volumeMounts": [{"name": "api", "mountPath": "/d"}]}]
    return {key: spec[key] for key in draw(st.permutations(sorted(spec)))}


@st.composite
def workloads(draw: st.DrawFn) -> Object:
    template: Object = {"spec": draw(pods())}
    metadata = draw(st.sampled_from([None, {}, {"labels": {"app": "x"}}, {"annotations": {"own/note": "1"}}]))
    if metadata is not None:
        template = {"metadata": metadata} | template
    kind, spec = draw(
        st.sampled_from(
            [
                ("Deployment", {"replicas": 2, "template": template}),
                ("Rollout", {"template": template, "strategy": {}}),
                ("CronJob", {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}),
            ]
        )
    )
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "app"}, "spec": spec}


@st.composite
def files(draw: st.DrawFn, wanted: st.SearchStrategy[Object]) -> tuple[str, list[str], int]:
    """A text, the comments in it, and which of its documents is the workload."""
    if draw(st.integers(0, 9)) == 0:
        return json.dumps(draw(wanted), indent=draw(st.sampled_from([None, 2]))), [], 0
    hand = Hand(draw, draw(st.sampled_from([0, 1, 1, 7])), frozenset(["valueFrom"]))
    other = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "app"}, "spec": {"ports": [{"port": 1}]}}
    texts = [hand.document(one) for one in (other, draw(wanted), other)]
    index = draw(st.sampled_from([0, 1]))
    text = "---\n".join(texts[1 - index :])
    if draw(st.booleans()):
        text = text.rstrip("\n")
    comments = [one for one in hand.comments if one in text]
    return text.replace("\n", draw(st.sampled_from(["\n", "\n", "\r\n"]))), comments, index


SETTINGS = ("openshift", "user", "group", "image", "pull_policy", "scratch_size")


@st.composite
def mounts(draw: st.DrawFn) -> tuple[Mount, Bind]:
    """Any mount that any settings make; the others of them, which may contradict each other, do not matter to it."""
    drawn = draw(kubernetes())
    made = read({key: value for key, value in drawn.items() if key in SETTINGS}, {})
    layouts = draw(st.lists(st.sampled_from(list(Layout)), min_size=1, unique=True))
    described = facts(*sorted(layouts))
    model = "small" if Layout.FLAT in layouts and draw(st.booleans()) else None
    path = draw(st.sampled_from(["/models", "/mnt/models", "/app/.cache/huggingface", "/a_b@c+d-e"]))
    wait = draw(st.none() | st.integers(0, 3600))
    one = mount(made, described, draw(st.sampled_from(["models", "other", "123"])), path, model=model, wait=wait)
    sub = one.mounts[0]["subPath"]
    return one, bind("/srv/my $tore", sub, path, one.environment, one.release, 2**30)


def load(text: str) -> list[Any]:
    """By another library than the one that wrote it."""
    return list(yaml.load_all(text, yaml.CSafeLoader))


def run(text: str, both: tuple[Mount, Bind], *, replace: bool = False, name: str = "app") -> Written:
    compose = "services" in text
    choice = Choice(name, None if compose else "main", replace)
    return written("file.yaml", text, both[0], lambda: both[1], choice)


def template(workload: Object) -> Object:
    spec = workload["spec"]
    found: Object = spec["jobTemplate"]["spec"]["template"] if "jobTemplate" in spec else spec["template"]
    return found


def without_ours(workload: Object, one: Mount) -> Object:
    """What is somebody else's; a list or mapping that is not there, is null or is empty is all the same."""
    result = copy.deepcopy(workload)
    pod = template(result)
    (container,) = [c for c in pod["spec"]["containers"] if c["name"] == "main"]
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    annotations.pop(RELEASE, None)
    names = {"models", "scratch", "wait-for-models"}
    for owner, key in ((pod["spec"], "volumes"), (container, "volumeMounts"), (pod["spec"], "initContainers")):
        owner[key] = [one for one in owner.get(key) or [] if one["name"] not in names]
    container["env"] = [v for v in container.get("env") or [] if v["name"] not in one.environment]
    pod["metadata"] = {**(pod.get("metadata") or {}), "annotations": annotations}
    container.setdefault("args", None)
    return result


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(files(workloads()), mounts())
def test_only_ours_changes_and_only_once(file: tuple[str, list[str], int], both: tuple[Mount, Bind]) -> None:
    text, comments, index = file
    wanted = both[0]
    once = run(text, both).text
    assert run(once, both) == Written(once, f"{load(text)[index]['kind']}/app, container main", ())
    before, after = load(text), load(once)
    assert without_ours(after[index], wanted) == without_ours(before[index], wanted)
    assert [one for one in comments if one not in once] == []
    others = text.split("---")
    assert [once.split("---")[i] for i in range(len(others)) if i != index] == [
        one for i, one in enumerate(others) if i != index
    ]
    pod = template(after[index])
    (container,) = [c for c in pod["spec"]["containers"] if c["name"] == "main"]
    assert [v for v in pod["spec"]["volumes"] if v["name"] in ("models", "scratch")] == list(wanted.volumes)
    assert [m for m in container["volumeMounts"] if m["name"] == "models"] == [wanted.mounts[0]]
    assert wanted.mounts[0]["readOnly"] is True
    assert wanted.volumes[0]["persistentVolumeClaim"]["readOnly"] is True
    environment = {v["name"]: v.get("value") for v in container["env"]}
    assert environment | wanted.environment == environment
    assert len(environment) == len(container["env"])
    assert pod["metadata"]["annotations"][RELEASE] == wanted.release
    waiting = [c for c in pod["spec"].get("initContainers") or [] if c["name"] == "wait-for-models"]
    assert waiting == list(wanted.init)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(files(workloads()), mounts(), mounts())
def test_what_an_earlier_run_wrote_leaves_nothing(
    file: tuple[str, list[str], int], first: tuple[Mount, Bind], second: tuple[Mount, Bind]
) -> None:
    text, _, index = file
    direct = load(run(text, second).text)[index]
    updated = load(run(run(text, first).text, second).text)[index]
    for one in (direct, updated):
        (container,) = [c for c in template(one)["spec"]["containers"] if c["name"] == "main"]
        container["env"].sort(key=lambda v: v["name"])
    taken = set(POINTERS) & {v["name"] for v in main_env(load(text)[index])}
    assume(not taken)  # somebody else's own value of a pointer is gone after the first run
    assert template(updated).get("metadata") == template(direct).get("metadata")
    assert without_order(template(updated)["spec"]) == without_order(template(direct)["spec"])


def main_env(workload: Object) -> list[Object]:
    (container,) = [c for c in template(workload)["spec"]["containers"] if c["name"] == "main"]
    return container.get("env") or []


def without_order(spec: Object) -> Object:
    """Where there was no init container before, none and an empty list are the same."""
    return {key: value for key, value in spec.items() if value} | {
        "initContainers": sorted(spec.get("initContainers") or [], key=lambda one: str(one["name"]))
    }


TAKEN = st.sampled_from(["models", "scratch", "api"])
PLACES = st.sampled_from(["/models", "/models/", "/models/below", "/scratch", "/mnt/models", "/data"])


@st.composite
def contested(draw: st.DrawFn) -> Object:
    workload = draw(workloads())
    pod = template(workload)["spec"]
    (container,) = [c for c in pod["containers"] if c["name"] == "main"]
    volume = st.fixed_dictionaries({"name": TAKEN, "emptyDir": st.just({"medium": "Memory"})})
    pod["volumes"] = draw(unique(volume, "name"))
    container["volumeMounts"] = draw(unique(st.fixed_dictionaries({"name": TAKEN, "mountPath": PLACES}), "mountPath"))
    return workload


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(files(contested()), mounts())
def test_what_is_somebody_elses_goes_only_when_told_to(
    file: tuple[str, list[str], int], both: tuple[Mount, Bind]
) -> None:
    text, _, index = file
    forced = run(text, both, replace=True)
    pod = template(load(forced.text)[index])["spec"]
    (container,) = [c for c in pod["containers"] if c["name"] == "main"]
    at = wanted_path = both[0].mounts[0]["mountPath"]
    inside = [m for m in container["volumeMounts"] if (m["mountPath"].rstrip("/") + "/").startswith(at + "/")]
    assert inside == [both[0].mounts[0]], wanted_path
    assert [v for v in pod["volumes"] if v["name"] in ("models", "scratch")]
    assert run(forced.text, both).text == forced.text
    try:
        asked = run(text, both)
    except UsageError as refused:
        assert forced.notes and "--replace" in refused.hint
    else:
        assert asked == forced


@st.composite
def services(draw: st.DrawFn) -> Object:
    table = st.dictionaries(VARIABLES | OURS, VALUES | st.none(), max_size=3)
    listed = st.lists(st.sampled_from(["A=1", "HF_HOME=/x", "OWN", "HOME"]), max_size=3, unique=True)
    volumes = st.lists(
        st.sampled_from(["cache:/var/cache", "/data", "${DIR:-./x}:/opt/x:ro"])
        | st.fixed_dictionaries({"type": st.just("bind"), "source": st.just("./a"), "target": st.just("/a")}),
        max_size=2,
        unique_by=repr,
    )
    parts = {
        "environment": draw(table | listed | st.none()),
        "volumes": draw(volumes | st.none()),
        "tmpfs": draw(st.sampled_from([None, "/run", ["/run", "/tmp:size=1m"], "/scratch", ["/scratch:ro"]])),
        "ports": draw(st.sampled_from([None, ["8000:8000"]])),
    }
    service: Object = {"image": "x"} | {k: v for k, v in parts.items() if v is not None or draw(st.booleans())}
    chosen = {key: service[key] for key in draw(st.permutations(sorted(service)))}
    return {"services": {"other": {"image": "y"}, "app": chosen}, "volumes": {"cache": None}}


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(st.data(), mounts())
def test_compose(data: st.DataObject, both: tuple[Mount, Bind]) -> None:
    one, wanted = both
    assume(not one.init)
    hand = Hand(data.draw, data.draw(st.sampled_from([0, 1, 7])))
    text = hand.document(data.draw(services()))
    once = run(text, both).text
    assert run(once, both) == Written(once, "service/app", ())
    assert [comment for comment in hand.comments if comment not in once] == []
    (before,), (after,) = load(text), load(once)
    mine, theirs = after["services"].pop("app"), before["services"].pop("app")
    assert after == before
    assert [v for v in mine["volumes"] if v not in (theirs.get("volumes") or [])] == [wanted.volume]
    assert [v for v in mine["volumes"] if v != wanted.volume] == (theirs.get("volumes") or [])
    tmpfs = [mine["tmpfs"]] if isinstance(mine["tmpfs"], str) else mine["tmpfs"]
    assert tmpfs.count(wanted.tmpfs) == 1
    written_as, was = (pairs(service.get("environment")) for service in (mine, theirs))
    assert {k: v for k, v in written_as.items() if k in wanted.environment} == wanted.environment
    assert {k: v for k, v in written_as.items() if k not in wanted.environment} == {
        k: v for k, v in was.items() if k not in wanted.environment
    }


def pairs(environment: Any) -> dict[str, Any]:
    if isinstance(environment, list):
        return {name: value if equals else None for name, equals, value in (one.partition("=") for one in environment)}
    return environment or {}
